"""Names inside files lead nowhere: not out of a DICOMDIR's folder, not out of an archive, not out of the output."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pydicom
import pytest
from dicom_samples import make_series, phantom
from hostile import read, refusal

import sciSR
from networks import write_network
from sciSR.errors import UsageError
from sciSR.models.user_models import add_model, user_folder
from sciSR.workflow.pipelines.naming import fill, safe_name

OPENED = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import sciSR
from sciSR.plugins import adapter_for
folder = Path(sys.argv[1])
adapter_for(folder).describe(folder)
print(sciSR.read(folder).shape)
print(any("elsewhere" in name for name in opened))
"""


def disc(tmp_path: Path, reference: list[str]) -> Path:
    """A folder with one series and a DICOMDIR whose record refers elsewhere."""
    from pydicom.fileset import FileSet

    make_series(tmp_path / "from", stored=phantom((2, 6, 8)))
    make_series(tmp_path / "elsewhere", stored=phantom((2, 6, 8)), uid="1.2.77")
    files = FileSet()
    for path in sorted((tmp_path / "from").iterdir()):
        files.add(pydicom.dcmread(path))
    files.write(tmp_path / "disc")
    directory = pydicom.dcmread(tmp_path / "disc" / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = reference
    directory.save_as(tmp_path / "disc" / "DICOMDIR")
    return tmp_path / "disc"


@pytest.mark.parametrize(
    "reference", [["..", "elsewhere", "S000.DCM"], ["/etc/passwd"], ["..\\..\\elsewhere\\s000.dcm"]]
)
def test_a_dicomdir_is_not_followed(tmp_path: Path, reference: list[str]) -> None:
    folder = disc(tmp_path, reference)
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(folder)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split("\n")[:2] == ["(2, 6, 8)", "False"]
    text = refusal(lambda: read(folder / "DICOMDIR"))
    assert "DICOMDIR" in text
    assert "elsewhere" not in text


def test_a_folder_s_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make_series(tmp_path / "mr", stored=phantom((2, 6, 8)))
    make_series(tmp_path / "other", stored=phantom((2, 6, 8)), uid="1.2.77")
    (tmp_path / "mr" / "more").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "mr" / "round").symlink_to(tmp_path / "mr", target_is_directory=True)
    assert sciSR.read(tmp_path / "mr").shape == (2, 6, 8)


def test_archives_are_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "x.dcm", "../../evil.dcm")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "x.dcm", "../../evil.dcm")
    for name in ("a.zip", "a.tar.gz"):
        assert name in refusal(lambda name=name: read(tmp_path / name))
    assert not list(tmp_path.parent.rglob("evil.dcm"))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", ".hidden", "..", "a\0b", "a\nb"])
def test_a_model_s_name_stays_in_its_folder(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    path = Path(write_network(tmp_path, "ESPCN", 2))
    assert "can't name a model" in refusal(lambda: add_model(path, name))
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"]["name"] = json.dumps(name)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])
    assert "can't name a model" in refusal(lambda: add_model(path))
    assert not user_folder().exists() or not list(user_folder().iterdir())


@pytest.mark.parametrize(
    "value", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\0b", "~/x", "..", "-rf", "\u202egpj"]
)
def test_what_a_header_says_names_a_file_within_the_output(value: str) -> None:
    for template in ("{OBJECT}", "x_{OBJECT}", "{OBJECT}/{OBJECT}_x"):
        try:
            name = fill(template, {"OBJECT": value})
        except UsageError:
            continue
        assert not name.startswith(("/", "-", "."))
        assert not {"..", ".", ""} & set(name.split("/"))
        assert name.isprintable()
        assert "\\" not in name
    assert "/" not in safe_name(value)
