"""Requests to the Hugging Face hub: the files of a repository, and the bytes of a file. Translates the hub's errors.

Bytes are requested with Range, so that a download can be resumed; large files are fetched by `snapshot`. Session,
headers, token and error classes are those of huggingface_hub.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pixtral_cli import __version__
from pixtral_cli.errors import ModelError, NetworkError, PixtralError
from pixtral_cli.models import layout, names, verify
from pixtral_cli.models.layout import Format

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling

LOG_IN = "log in (`hf auth login`, or set HF_TOKEN)"
TRUE_VALUES = ("1", "ON", "YES", "TRUE")


class HubUnreachable(NetworkError):
    """The connection failed or was interrupted, or the hub is overloaded: trying again may succeed."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. `size`: bytes; `digest`: its SHA-256 or, for small files, git's blob hash."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files of the model in a repository at one commit, its configuration first. `revision`: what was requested."""

    repo: str
    revision: str | None
    commit: str
    files: tuple[RemoteFile, ...]
    format: Format = layout.MISTRAL

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def offline(env: Mapping[str, str] = os.environ) -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids requests to the hub."""
    return (env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE") or "").upper() in TRUE_VALUES


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub and the cache folder of its files. `endpoint`: a URL without a slash at its end.

    `timeout`: seconds without a byte after which a request fails; None for the setting of huggingface_hub (10 seconds,
    or HF_HUB_DOWNLOAD_TIMEOUT).
    """

    cache: Path
    endpoint: str
    timeout: float | None = None

    @classmethod
    def of(cls, env: Mapping[str, str] = os.environ) -> "Hub":
        """The hub that the environment names, else huggingface.co."""
        return cls(names.hub_cache(env), (env.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"))

    def home(self, repo: str) -> Path:
        """The folder of a repository in the cache."""
        return self.cache / names.repo_folder(repo)

    @contextmanager
    def lock(self, repo: str) -> Iterator[None]:
        """Holds a repository's lock, so that one process at a time downloads or removes it.

        Raises PixtralError if it is held.
        """
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        file = self.cache / ".locks" / names.repo_folder(repo) / "pixtral.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(WeakFileLock(file, timeout=0.1))
            except TimeoutError as error:
                raise PixtralError(f"Another process is downloading {repo}", "Let it finish, or stop it") from error
            yield

    def plan(self, repo: str, revision: str | None) -> DownloadPlan:
        """Requests the files of a revision (None: main).

        Raises NetworkError, and ModelError when it holds no model in a known format.
        """
        _silence_client()
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HFValidationError

        api = HfApi(endpoint=self.endpoint, library_name="pixtral", library_version=__version__)
        with self._translated_errors(repo, revision):
            try:
                info = api.model_info(
                    repo,
                    revision=revision or "main",
                    files_metadata=True,
                    timeout=self.timeout or constants.HF_HUB_ETAG_TIMEOUT,
                )
                listed = {sibling.rfilename: sibling for sibling in info.siblings or []}
                known = layout.choose_format(listed)
                files = tuple(_remote_file(listed[name]) for name in known.select(listed))
                commit = _commit(info.sha)
            except HFValidationError as error:
                raise ModelError(f"{repo!r} cannot be a repository's name", "Names look like org/name") from error
            except (ValueError, TypeError, LookupError, AttributeError) as error:  # a captive portal, a broken mirror
                raise NetworkError(
                    f"{self.endpoint} answers, but not as a model hub does",
                    "Check HF_ENDPOINT, your proxy and firewall",
                ) from error
        if missing := known.missing(listed):
            raise ModelError(
                f"{repo} holds no model in {known.name} format: {missing[0]} is missing",
                f"Its files: {self.endpoint}/{repo}/tree/main",
            )
        return DownloadPlan(repo, revision, commit, files, known)

    def read_config(self, plan: DownloadPlan) -> bytes:
        """The content of the model's configuration, which is not stored.

        Raises as `stream` does, and ModelError for a huge one.
        """
        data = bytearray()
        with self.stream(plan, plan.files[0], 0) as (_, pieces):
            for piece in pieces:
                data += piece
                if len(data) > layout.MAX_JSON_BYTES:
                    raise ModelError(
                        f"{plan.files[0].name} of {plan.repo} is larger than any configuration",
                        "Check the repository's name",
                    )
        return bytes(data)

    @contextmanager
    def stream(self, plan: DownloadPlan, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """A file's bytes from `start` on, or from 0 where the server ignores Range: (their position, the bytes).

        Raises HubUnreachable when trying again may succeed, else NetworkError or ModelError.
        """
        _silence_client()
        import httpx2
        from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(plan.repo, file.name, revision=plan.commit, endpoint=self.endpoint)
        headers = build_hf_headers(library_name="pixtral", library_version=__version__)
        headers |= {"accept-encoding": "identity"} | ({"range": f"bytes={start}-"} if start else {})
        timeout = httpx2.Timeout(self.timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT)
        with (
            self._translated_errors(plan.repo, plan.revision),
            get_session().stream("GET", url, headers=headers, timeout=timeout) as response,
        ):
            hf_raise_for_status(response)
            yield (start if _resumes_at(response, start) else 0), response.iter_bytes()

    @contextmanager
    def _translated_errors(self, repo: str, revision: str | None) -> Iterator[None]:
        """Turns errors of huggingface_hub and its HTTP client into ours."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error, repo, revision) from error
        except OfflineModeIsEnabled as error:
            raise offline_error(repo) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise HubUnreachable(
                f"{self.endpoint} {_connection_error_text(error)}", "Check the network, your proxy and HF_ENDPOINT"
            ) from error

    def _refusal(self, error: "HfHubHTTPError", repo: str, revision: str | None) -> PixtralError:
        """The error for an HTTP error of the hub."""
        from huggingface_hub import errors

        page, status = f"{self.endpoint}/{repo}", error.response.status_code
        if isinstance(error, errors.GatedRepoError) and status == 401:
            return ModelError(
                f"{repo} is gated, and you are not logged in", f"Accept its terms at {page}, then {LOG_IN}"
            )
        if isinstance(error, errors.GatedRepoError):
            return ModelError(f"{repo} is gated, and your account has no access yet", f"Accept its terms at {page}")
        if isinstance(error, errors.RevisionNotFoundError):
            return ModelError(f"{repo} has no revision {revision!r}", f"See {page}/commits/main")
        if isinstance(error, errors.EntryNotFoundError):
            return ModelError(f"A file of {repo} is no longer on the hub", f"See {page}/tree/main")
        if status == 401 and "credentials" in error.response.headers.get("x-error-message", "").lower():
            return ModelError("The hub refuses your token", "Make a new one, then " + LOG_IN)
        if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
            return ModelError(f"{repo}: no such repository, or a private one", f"Check the name; if private, {LOG_IN}")
        if status == 403:
            return ModelError(f"The hub forbids access to {repo}", f"See {page}, and what your token may read")
        kind = HubUnreachable if status in (408, 429) or status >= 500 else NetworkError
        return kind(f"{self.endpoint} answers with HTTP status {status}", "Try again in a few minutes")


def offline_error(name: str) -> NetworkError:
    """The error when a model must be downloaded and the network is off."""
    return NetworkError(
        f"{name} is not complete on this machine, and offline is set",
        "Without --offline, PIXTRAL_OFFLINE and HF_HUB_OFFLINE it can be fetched",
    )


def _connection_error_text(error: Exception) -> str:
    """Why a connection failed, as the predicate of a sentence about the hub."""
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return "does not answer in time"
    if isinstance(error, (httpx2.ReadError, httpx2.RemoteProtocolError)):
        return "broke the connection off"
    why = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
    return f"cannot be reached: {why}"[:80]


def _remote_file(sibling: "RepoSibling") -> RemoteFile:
    """A file of the hub's listing.

    Raises ValueError for one without a size or with a malformed hash, which would name a file.
    """
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id or ""
    if not isinstance(sibling.size, int) or not (verify.SHA256.fullmatch(digest) or verify.GIT_BLOB.fullmatch(digest)):
        raise ValueError(f"{sibling.rfilename}: no size or no hash")
    return RemoteFile(sibling.rfilename, sibling.size, digest)


def _commit(sha: str | None) -> str:
    """A commit's hash. Raises ValueError for anything else."""
    if not verify.GIT_BLOB.fullmatch(sha or ""):
        raise ValueError("no commit")
    return sha or ""


def _resumes_at(response: "httpx2.Response", start: int) -> bool:
    """Whether a response holds the bytes from `start` on."""
    return response.status_code == 206 and response.headers.get("content-range", "").startswith(f"bytes {start}-")


def _silence_client() -> None:
    """Turns off the telemetry and the log messages of huggingface_hub. Called before it is used."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
