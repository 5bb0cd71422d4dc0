#!/usr/bin/env nextflow
// Every FITS and NIfTI image upscaled and verified:
//
//   nextflow run main.nf --images 'images/*.{fits,nii.gz}' --results results --scale 2 --model auto
//
// Full disks and lost workers (exit code 5) are tried again, with more memory; refused inputs (3) are not.

params.images = 'images/*.{fits,nii.gz}'
params.results = 'results'
params.scale = 2
params.model = 'auto'

def finer(name) {
    name.replaceFirst(/\.(fits|nii\.gz)$/, '_x' + params.scale + '.$1')
}

process UPSCALE {
    tag "${image.name}"
    publishDir params.results, mode: 'copy'
    memory { 4.GB * task.attempt }
    errorStrategy { task.exitStatus in [5, 137, 143] ? 'retry' : 'ignore' }
    maxRetries 2

    input:
    path image

    output:
    tuple path(image), path("${finer(image.name)}"), emit: pair
    path "${image.name}.json", emit: record

    script:
    def result = finer(image.name)
    """
    scisr upscale ${image} -o '${result}' --scale ${params.scale} --model ${params.model} --overwrite --json > '${image.name}.json'
    """
}

process VERIFY {
    tag "${after.name}"
    publishDir params.results, mode: 'copy'
    errorStrategy 'ignore'

    input:
    tuple path(before), path(after)

    output:
    path "${after.name}.verified.json"

    script:
    """
    scisr verify ${before} ${after} --json > '${after.name}.verified.json'
    """
}

workflow {
    UPSCALE(channel.fromPath(params.images, checkIfExists: true))
    VERIFY(UPSCALE.out.pair)
}
