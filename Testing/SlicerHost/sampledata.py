"""SampleData: registration is recorded; a download is a file from `files`, or fails as without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

files: dict[str, Path] = {}  # sample name -> file that stands for the download
sources: dict[str, list[dict[str, Any]]] = {}  # category -> what was registered


class SampleDataLogic:
    """Slicer's list of sample data sets."""

    def __init__(self, logMessage: Any = None) -> None:
        self._log = logMessage

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        sources.setdefault(category, []).append({k: v for k, v in locals().items() if v is not None})

    def downloadSamples(self, sampleName: str) -> list:
        import slicer

        if sampleName not in files:
            raise RuntimeError(f"Download of {sampleName} failed: no network in the test host")
        return [slicer.util.loadVolume(str(files[sampleName]), {"name": sampleName, "singleFile": True})]

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]


def downloadSample(sampleName: str) -> Any:
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName: str) -> list:
    return SampleDataLogic().downloadSamples(sampleName)
