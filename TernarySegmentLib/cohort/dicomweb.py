"""An image archive (PACS) over DICOMweb: find CT series, fetch them, store results beside them (DICOM PS3.18).

Credentials come from the environment or from netrc, never from the command line or the address, where shells and logs
keep them. Certificates are always checked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from TernarySegmentLib.errors import ArchiveError, InputError
from TernarySegmentLib.imaging.files.dicom_seg import PRODUCT

TOKEN, USER, PASSWORD = (f"TERNARYSEGMENT_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))
"""Environment variables: a bearer token, or a user's name and password."""
TIMEOUT_S = (10.0, 300.0)
"""To connect, and between two pieces of an answer: archives may fetch old studies from tape."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SERIES_KEYS = ("SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "BodyPartExamined", "ProtocolName")
"""What a query may ask of a series; everything else is asked of its study."""
FEWEST_SLICES = 10
"""A series that is known to have fewer is a scout."""


@dataclass(frozen=True)
class RemoteSeries:
    """A CT series in an archive.

    Attributes:
        study, uid: StudyInstanceUID and SeriesInstanceUID.
        date: of the study, YYYYMMDD; empty when unknown.
        description: of the series; empty when unknown.
        slices: number of instances; 0 when unknown.
    """

    study: str
    uid: str
    date: str
    description: str
    slices: int

    def __str__(self) -> str:
        date = f"{self.date[:4]}-{self.date[4:6]}-{self.date[6:8]}" if len(self.date) == 8 else "no date"
        return f"{date}  {self.description or 'no description'}  ({self.slices or '?'} slices)  {self.uid}"


class ImageArchive:
    """A DICOMweb server.

    Args:
        url: of its DICOMweb root, e.g. ``https://pacs.hospital.example/dicom-web``.
        ca: certificate (PEM) of the authority that the server's is signed by; None takes those known to Python, or the
            file that REQUESTS_CA_BUNDLE names.
        plain_http: allow http:// to another computer; everything then travels in the clear.

    Raises:
        InputError: the address is none, holds credentials, or is http:// to another computer.
        ArchiveError: dicomweb-client is missing.
    """

    def __init__(self, url: str, ca: Path | None = None, plain_http: bool = False) -> None:
        _check_url(url, plain_http)
        if ca is not None and not ca.is_file():
            raise InputError(f"There is no certificate “{ca}”; check the path.")
        try:
            import requests
            from dicomweb_client.api import DICOMwebClient
        except ImportError as error:
            raise ArchiveError(
                "An image archive needs the package dicomweb-client; run: pip install 'ternarysegment[pacs]'"
            ) from error
        # its messages hold identifiers of patients' studies
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)

        class Session(requests.Session):
            def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> Any:
                if ca is not None:  # set for the session, it would give way to REQUESTS_CA_BUNDLE
                    options["verify"] = str(ca)
                # Orthanc takes an escaped asterisk for the character, and finds nothing
                return super().request(method, url.replace("%2A", "*"), *arguments, **options)

        session = Session()
        session.auth = _credentials()
        self.host = str(urlsplit(url).hostname)
        self.client = DICOMwebClient(url, session=session, timeout=TIMEOUT_S)
        # retrying takes half a minute to say that a certificate is not trusted
        self.client.set_http_retry_params(retry=False)

    def find(self, query: Mapping[str, str]) -> list[RemoteSeries]:
        """CT series that match a query, the oldest study first.

        Args:
            query: DICOM keywords and values, as QIDO-RS knows them: ``StudyDate`` may be ``20240101-20240131``, names
                may hold ``*``. Those of :data:`SERIES_KEYS` are asked of the series, others of the study.

        Raises:
            InputError: the query is empty, or a keyword is none.
            ArchiveError: the archive cannot be reached, or refuses.
        """
        _check_query(query)
        of_series = {key: value for key, value in query.items() if key in SERIES_KEYS}
        of_study = {key: value for key, value in query.items() if key not in SERIES_KEYS}
        found = []
        with self._asking():
            for study in self.client.search_for_studies(search_filters=of_study, get_remaining=True):
                uid = _text(study, "0020000D")
                series = self.client.search_for_series(
                    uid, search_filters={**of_series, "Modality": "CT"}, get_remaining=True
                )
                found += [_remote_series(uid, _text(study, "00080020"), each) for each in series]
        wanted = [each for each in found if each.slices == 0 or each.slices >= FEWEST_SLICES]
        return sorted(wanted, key=lambda each: (each.date, each.study, each.uid))

    def fetch(self, series: RemoteSeries, folder: Path, watch: Callable[[int], None] = lambda count: None) -> None:
        """Write a series' instances into a folder; ``watch`` is called with the number of those that came.

        Raises:
            ArchiveError: the archive cannot be reached, refuses, or sends fewer instances than it announced.
        """
        count = 0
        with self._asking():
            for count, dataset in enumerate(self.client.iter_series(series.study, series.uid), 1):
                dataset.save_as(folder / f"{count:05}.dcm", enforce_file_format=True)
                watch(count)
        if count == 0 or count < series.slices:
            raise ArchiveError(f"{self.host} sent {count} of {series.slices} slices of {series.uid}; try again later.")

    def holds_result(self, series: RemoteSeries, model: str) -> bool:
        """True when the study holds a segmentation of this series that the model (its SHA-256) made.

        Raises:
            ArchiveError: the archive cannot be reached, or refuses.
        """
        with self._asking():
            for each in self.client.search_for_series(
                series.study, search_filters={"Modality": "SEG"}, get_remaining=True
            ):
                for instance in self.client.retrieve_series_metadata(series.study, _text(each, "0020000E")):
                    referenced = instance.get("00081115", {}).get("Value", [{}])[0]
                    if (
                        _text(instance, "00080070") == PRODUCT and _text(instance, "00181000") == model[:12]
                        and _text(referenced, "0020000E") == series.uid
                    ):  # fmt: skip
                        return True
        return False

    def store(self, path: Path) -> None:
        """Store a DICOM file.

        Raises:
            ArchiveError: the archive cannot be reached, or does not take it.
        """
        import pydicom

        with self._asking():
            answer = self.client.store_instances([pydicom.dcmread(path)])
        if answer.get("FailedSOPSequence") or not answer.get("ReferencedSOPSequence"):
            raise ArchiveError(f"{self.host} did not store the result; ask whether you may write there.")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn the faults of a request into sentences."""
        import requests

        try:
            yield
        except requests.exceptions.SSLError as error:
            raise ArchiveError(
                f"The certificate of {self.host} is not trusted; give the hospital's own authority with --ca."
            ) from error
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise ArchiveError(self._refusal(status)) from error
        except requests.exceptions.JSONDecodeError as error:
            raise ArchiveError(
                f"{self.host} answers with something else than DICOM; give the root of its DICOMweb service."
            ) from error
        except requests.exceptions.RequestException as error:
            raise ArchiveError(
                f"{self.host} cannot be reached ({type(error).__name__}); check the address and the network."
            ) from error

    def _refusal(self, status: int) -> str:
        if status in (401, 403):
            return (
                f"{self.host} refuses access (HTTP {status}); set {USER} and {PASSWORD}, or {TOKEN}, or add the "
                "computer to your netrc file."
            )
        if status == 404:
            return f"{self.host} knows no such address (HTTP 404); give the root of its DICOMweb service."
        return f"{self.host} answers with an error (HTTP {status}); try again later, or ask its administrators."


def _check_url(url: str, plain_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"“{url.split('@')[-1]}” is no address of a DICOMweb service; it begins with https://")
    if parts.username or parts.password:
        raise InputError(
            f"The address of {parts.hostname} holds credentials, which shells and logs keep; set {USER} and {PASSWORD} "
            "instead."
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not plain_http:
        raise InputError(
            f"http:// to {parts.hostname} sends patients' data in the clear; use https://, or --plain-http in a closed "
            "network."
        )


def _check_query(query: Mapping[str, str]) -> None:
    from pydicom.datadict import tag_for_keyword

    if not query:
        raise InputError(
            "Without a query every CT in the archive would be fetched; give e.g. StudyDate=20240101-20240131."
        )
    for key in query:
        if tag_for_keyword(key) is None:
            raise InputError(f"“{key}” is no DICOM keyword; use e.g. PatientID, StudyDate, AccessionNumber.")


def _credentials() -> Any:
    """What the environment offers; None leaves it to netrc."""
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token:

        def bearer(request: Any) -> Any:  # a header of the session would give way to netrc
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        return bearer
    return (user, password) if user else None


def _remote_series(study: str, date: str, item: Mapping[str, Any]) -> RemoteSeries:
    return RemoteSeries(
        study, _text(item, "0020000E"), date, _text(item, "0008103E"), _count(item)
    )  # fmt: skip


def _count(item: Mapping[str, Any]) -> int:
    """NumberOfSeriesRelatedInstances; 0 where the archive says nothing, or nonsense."""
    text = _text(item, "00201209")
    return int(text) if text.isdecimal() else 0


def _text(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON; empty when it is missing."""
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])
