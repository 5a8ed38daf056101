"""A real image archive on loopback: found by query, segmented, stored back, and identical when it is fetched again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from quick_model import quick_model, quick_options

from TernarySegmentLib import cli
from TernarySegmentLib.cohort.dicomweb import PASSWORD, TOKEN, USER, ImageArchive, RemoteSeries
from TernarySegmentLib.errors import ArchiveError, InputError
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import run, segment

pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install -e .[test]")
pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install -e .[pacs]")
pytest.importorskip("highdicom", reason="needs highdicom: pip install -e .[dicom]")

import test_imaging_dicom_seg  # noqa: E402
import test_imaging_rtstruct  # noqa: E402
from test_imaging_dicom_seg import inside, patient_series  # noqa: E402

PLUGIN = next(
    (path for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
     for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))), None,
)  # fmt: skip
THE_USER, SECRET = "reader", "s3cret-Wort"


@dataclass(frozen=True)
class Server:
    """A running Orthanc, or a TLS front before one, which shows the certificate ``ca``."""

    url: str
    port: int
    ca: Path | None = None

    def fetch(self, study: str, modality: str) -> list:
        """The instances of a modality in a study, by dicomweb-client alone."""
        client = ImageArchive(self.url, self.ca).client
        return [
            instance
            for series in client.search_for_series(study, search_filters={"Modality": modality})
            for instance in client.iter_series(study, series["0020000E"]["Value"][0])
        ]


def start_orthanc(folder: Path):
    """Start an Orthanc that keeps its files in a folder; yields the server and stops it."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or PLUGIN is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = {
        "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "HttpPort": port, "HttpBindAddresses": ["127.0.0.1"], "DicomServerEnabled": False, "Plugins": [str(PLUGIN)],
        "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {THE_USER: SECRET},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with open(folder / "orthanc.log", "wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(port, process, folder / "orthanc.log")
        yield Server(f"http://127.0.0.1:{port}/dicom-web", port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def start_tls(server: Server, folder: Path):
    """A TLS front before a server, as archives have one; yields it and stops it."""
    public, both = certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)

    class Front(BaseHTTPRequestHandler):
        def do_GET(self):
            inside = HTTPConnection("127.0.0.1", server.port)
            inside.request("GET", self.path, headers=dict(self.headers))
            answer = inside.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Encoding"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    class Tls(ThreadingHTTPServer):
        def get_request(self):
            connection, address = super().get_request()
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_):
            """A client that does not trust us hangs up."""

    with Tls(("127.0.0.1", 0), Front) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield Server(f"https://127.0.0.1:{front.server_port}/dicom-web", front.server_port, public)
        front.shutdown()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and a file that holds its key too."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    key, public, both = (folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    subprocess.run(
        [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(public)], check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(key.read_text() + public.read_text())
    return public, both


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/system", timeout=2)
        except urllib.error.HTTPError:  # it asks who we are: it runs
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def login():
    """Credentials in the environment, as the command reads them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(TOKEN, raising=False)
        patch.setenv(USER, THE_USER)
        patch.setenv(PASSWORD, SECRET)
        yield


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    yield from start_orthanc(tmp_path_factory.mktemp("orthanc"))


@pytest.fixture(scope="module")
def secure(orthanc, tmp_path_factory):
    yield from start_tls(orthanc, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def phantom(orthanc, login, tmp_path_factory):
    """A phantom in the archive, and the folder that it came from."""
    folder = tmp_path_factory.mktemp("phantom")
    series = patient_series(folder, make_phantom(0, spacing=(2.5, 2.5, 4.0)).ct, PatientID="PH-0", StudyDate="20240301")
    archive = ImageArchive(orthanc.url)
    for path in sorted(series.glob("*.dcm")):
        archive.store(path)
    return series


def pacs(server: Server, *arguments: str) -> int:
    model = ["--model", str(quick_model())]
    own = ["--ca", str(server.ca)] if server.ca else []
    return cli.main(["pacs", "--dicomweb", server.url, *model, *arguments, *own])


def test_a_query_finds_the_series_and_a_dry_run_stores_nothing(orthanc, phantom, capsys):
    header = pydicom.dcmread(next(phantom.glob("*.dcm")))
    assert pacs(orthanc, "--query", "StudyDate=20240201-20240331", "--query", "PatientID=PH*", "--dry-run") == 0
    listed = capsys.readouterr().out
    assert "2024-03-01" in listed
    assert header.SeriesInstanceUID in listed
    assert "1 CT series" in listed
    assert orthanc.fetch(header.StudyInstanceUID, "SEG") == []
    assert pacs(orthanc, "--query", "StudyDate=20250101-", "--dry-run") == 0
    assert "0 CT series" in capsys.readouterr().out


def test_stored_segmentation_and_contours_are_the_masks_voxels(orthanc, phantom, tmp_path, capsys):
    assert pacs(orthanc, "--query", "PatientID=PH-0", "--rtstruct", "-q") == 0
    check_round_trip(orthanc, phantom, tmp_path)
    capsys.readouterr()
    assert pacs(orthanc, "--query", "PatientID=PH-0", "--rtstruct") == 0
    assert "holds a result of this model" in capsys.readouterr().err
    study = pydicom.dcmread(next(phantom.glob("*.dcm"))).StudyInstanceUID
    assert len(orthanc.fetch(study, "SEG")) == len(orthanc.fetch(study, "RTSTRUCT")) == 1


def test_a_real_series_comes_back_with_identical_voxels(orthanc, login, shared_data, tmp_path):
    source, archive = shared_data / "acrin_dicom", ImageArchive(orthanc.url)
    for path in sorted(source.glob("*.dcm")):
        archive.store(path)
    uid = pydicom.dcmread(next(source.glob("*.dcm")), stop_before_pixels=True).SeriesInstanceUID
    assert pacs(orthanc, "--query", f"SeriesInstanceUID={uid}", "--rtstruct", "-q") == 0
    check_round_trip(orthanc, source, tmp_path)


def check_round_trip(server: Server, source: Path, folder: Path) -> None:
    """Fetch what was stored beside a series, and compare it with a segmentation of the files it was filled from."""
    ct = read_ct(source)
    wanted = inside(run(segment(ct, quick_options())).mask)
    assert wanted.any()
    study = pydicom.dcmread(next(source.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID
    for modality, reader in (("SEG", test_imaging_dicom_seg), ("RTSTRUCT", test_imaging_rtstruct)):
        (stored,) = server.fetch(study, modality)
        stored.save_as(folder / f"{modality}.dcm", enforce_file_format=True)
        np.testing.assert_array_equal(reader.read_back(folder / f"{modality}.dcm", ct), wanted, err_msg=modality)


def test_a_scan_without_a_pancreas_is_told_and_nothing_is_stored(orthanc, login, tmp_path, capsys):
    abdomen = make_phantom(0, spacing=(3.0, 3.0, 3.0)).ct
    chest = abdomen[:, :, int(0.72 * abdomen.GetSize()[2]) :]
    series = patient_series(tmp_path, chest, PatientID="CHEST", SeriesInstanceUID="1.2.826.0.1.3680043.8.498.7.1",
                            StudyInstanceUID="1.2.826.0.1.3680043.8.498.7")  # fmt: skip
    for path in sorted(series.glob("*.dcm")):
        ImageArchive(orthanc.url).store(path)
    assert pacs(orthanc, "--query", "PatientID=CHEST") == 0
    assert "no pancreas found, nothing stored" in capsys.readouterr().err
    assert orthanc.fetch("1.2.826.0.1.3680043.8.498.7", "SEG") == []


def test_a_series_that_fails_in_any_way_does_not_stop_the_others_and_is_told(monkeypatch, capsys):
    faults = [OSError(28, "No space left on device"), MemoryError(), ValueError("bad multipart"), ArchiveError("Gone.")]

    class Failing:
        def __init__(self, *arguments):
            self.faults = iter(faults)

        def find(self, query):
            return [RemoteSeries("1", f"1.{number}", "", "", 20) for number in range(len(faults))]

        def holds_result(self, series, model):
            return False

        def fetch(self, series, folder):
            raise next(self.faults)

    monkeypatch.setattr("TernarySegmentLib.cohort.dicomweb.ImageArchive", Failing)
    assert cli.main(["pacs", "--dicomweb", "https://x.example", "--query", "PatientID=1", "-q"]) == 4
    captured = capsys.readouterr()
    assert "4 CT series, 0 results stored, 4 failed" in captured.out
    for words in ("No space left", "not enough free memory", "bad multipart", "Gone."):
        assert words in captured.err


# --- who may, and over what -------------------------------------------------------------------------------------------


def test_an_untrusted_certificate_is_refused_and_the_hospitals_own_is_taken(secure, login, capsys):
    assert cli.main(["pacs", "--dicomweb", secure.url, "--query", "PatientID=X", "--dry-run"]) == 1
    assert "is not trusted; give the hospital's own authority with --ca" in capsys.readouterr().err
    assert pacs(secure, "--query", "PatientID=X", "--dry-run") == 0


def test_wrong_credentials_are_refused_in_a_sentence_that_does_not_hold_them(orthanc, monkeypatch, capfd, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv(USER, THE_USER)
    monkeypatch.setenv(PASSWORD, "wrong-Wort")
    monkeypatch.setenv("NETRC", os.devnull)
    assert pacs(orthanc, "--query", "PatientID=X", "--dry-run") == 1
    written = "".join(capfd.readouterr()) + caplog.text
    assert "refuses access (HTTP 401)" in written
    assert "wrong-Wort" not in written


def test_netrc_is_read_where_the_environment_says_nothing(orthanc, monkeypatch, tmp_path, capfd, caplog):
    caplog.set_level("DEBUG")
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {THE_USER} password {SECRET}\n")
    netrc.chmod(0o600)
    for name in (USER, PASSWORD, TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    assert pacs(orthanc, "--query", "PatientID=X", "--dry-run") == 1
    monkeypatch.setenv("NETRC", str(netrc))
    assert pacs(orthanc, "--query", "PatientID=X", "--dry-run") == 0
    assert SECRET not in "".join(capfd.readouterr()) + caplog.text


def test_a_web_server_that_is_no_image_archive_is_told(orthanc, login):
    elsewhere = orthanc.url.removesuffix("/dicom-web") + "/app"
    with pytest.raises(ArchiveError, match="give the root of its DICOMweb service"):
        ImageArchive(elsewhere).find({"PatientID": "1"})


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("pacs.example", "is no address"),
        ("ftp://pacs.example", "is no address"),
        ("https://reader:s3cret@pacs.example/dicom-web", "holds credentials"),
        ("http://pacs.example/dicom-web", "in the clear"),
    ],
)
def test_addresses_that_would_leak_are_refused(url, text):
    with pytest.raises(InputError, match=text) as refused:
        ImageArchive(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(("query", "text"), [({}, "Without a query"), ({"Patient": "1"}, "is no DICOM keyword")])
def test_queries_that_ask_for_everything_or_nothing_known_are_refused(query, text):
    with pytest.raises(InputError, match=text):
        ImageArchive("https://127.0.0.1:9/dicom-web").find(query)


def test_an_archive_that_is_not_there_is_named():
    with pytest.raises(ArchiveError, match=r"127\.0\.0\.1 cannot be reached"):
        ImageArchive("https://127.0.0.1:9/dicom-web").find({"PatientID": "1"})
