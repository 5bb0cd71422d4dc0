"""The steps of pipelines, one a file; each is a public function, found through the entry points ``scisr.steps``."""
