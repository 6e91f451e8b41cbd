"""The four S3 calls that a store needs, blocking, with every failure in mux's own words.

boto3 is imported on first use: it costs 150 ms and most projects need none.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import ObjectNotFound, StoreError, StoreUnreachable

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client
    from s3transfer.futures import TransferFuture
    from s3transfer.manager import TransferManager

_PART_BYTES: Final = 16 * 2**20
_PARALLEL_PARTS: Final = 8
_DENIED: Final = {"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach S3. What is None comes from the AWS_* variables and ``~/.aws``, as in every AWS tool."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    max_attempts: int = 4


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object as S3 describes it. ``etag`` names its content."""

    bucket: str
    key: str
    etag: str
    size_bytes: int

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class ObjectChanged(Exception):
    """The object was replaced after its HEAD; the caller starts again."""


class S3Objects:
    """The objects of one endpoint. Thread-safe; connects on first use."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: S3Client | None = None
        self._manager: TransferManager | None = None
        self._transfers: set[TransferFuture] = set()  # under way
        self._bodies = _Bodies()
        self._known_buckets: set[str] = set()  # seen to exist: a missing object is then just that

    @property
    def endpoint(self) -> str:
        """The address that the settings and the environment lead to."""
        return self._connected()[0].meta.endpoint_url

    def head(self, bucket: str, key: str) -> S3Object:
        """Return what S3 knows of an object. Raises ``ObjectNotFound`` or ``StoreError``."""
        client, _ = self._connected()
        with self._in_our_words(f"s3://{bucket}/{key}"):
            try:
                answer = client.head_object(Bucket=bucket, Key=key)
            except client.exceptions.ClientError as exc:
                if _code(exc) not in ("404", "NoSuchKey", "NotFound", "NoSuchBucket"):
                    raise
                self._check_bucket(bucket)
                raise ObjectNotFound(f"there is no object s3://{bucket}/{key}") from None
        self._known_buckets.add(bucket)
        return S3Object(bucket, key, answer["ETag"], answer["ContentLength"])

    def listed(self, bucket: str, prefix: str) -> list[S3Object]:
        """Return the objects under a prefix, by key. Raises ``ObjectNotFound`` if there is none."""
        client, _ = self._connected()
        found: list[S3Object] = []
        with self._in_our_words(f"s3://{bucket}/{prefix}"):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    if not entry["Key"].endswith("/"):  # a folder that a web console made
                        found.append(S3Object(bucket, entry["Key"], entry["ETag"], entry["Size"]))
        if not found:
            raise ObjectNotFound(f"there is nothing under s3://{bucket}/{prefix}")
        return sorted(found, key=lambda one: one.key)

    def download(self, one: S3Object, path: Path, progress: Callable[[int], None]) -> None:
        """Download exactly that version of the object to ``path``.

        Raises ``ObjectChanged`` if there is another version now, else as ``head`` does. ``progress`` is called
        from other threads with the bytes that came since its last call (fewer than 0 where a part is fetched
        again); what it raises ends the download and is raised here.
        """
        from s3transfer.exceptions import CancelledError, S3DownloadFailedError

        client, manager = self._connected()
        subscriber = _subscriber(one, progress)
        with self._in_our_words(one.place):
            transfer = manager.download(one.bucket, one.key, str(path), subscribers=[subscriber])
            self._transfers.add(transfer)
            try:
                transfer.result()
            except CancelledError as exc:  # asyncio would take it for the cancellation of whoever waits
                raise StoreError(f"{one.place}: the store was closed during the download") from exc
            except S3DownloadFailedError as exc:
                raise ObjectChanged(one.place) from exc
            except client.exceptions.ClientError as exc:
                if _code(exc) in ("PreconditionFailed", "412"):  # not every store answers as AWS does
                    raise ObjectChanged(one.place) from exc
                raise
            finally:
                self._transfers.discard(transfer)
                self._bodies.close(one.place)
        size_bytes = path.stat().st_size
        if size_bytes != one.size_bytes:
            raise StoreError(f"{one.place} came with {size_bytes} bytes instead of {one.size_bytes}")

    def close(self) -> None:
        """Stop the downloads and close the connections."""
        for transfer in list(self._transfers):
            transfer.cancel()
        with self._lock:
            if self._manager is not None:
                self._manager.shutdown()
            if self._client is not None:
                self._client.close()

    def _connected(self) -> tuple[S3Client, TransferManager]:
        with self._lock:
            if self._client is None or self._manager is None:
                from s3transfer.manager import TransferConfig, TransferManager

                with self._in_our_words("S3"):
                    self._client = _make_client(self._settings)
                self._bodies.watch(self._client)
                self._manager = TransferManager(
                    self._client,
                    TransferConfig(
                        multipart_threshold=1,  # only ranged downloads say If-Match, so that versions never mix
                        multipart_chunksize=_PART_BYTES,
                        max_request_concurrency=_PARALLEL_PARTS,
                        num_download_attempts=self._settings.max_attempts,
                    ),
                )
            return self._client, self._manager

    def _check_bucket(self, bucket: str) -> None:
        """Raise ``StoreError`` if the bucket does not exist: HEAD of an object answers 404 for both."""
        client, _ = self._connected()
        if bucket in self._known_buckets:
            return
        try:
            client.head_bucket(Bucket=bucket)
        except client.exceptions.ClientError as exc:
            if _code(exc) in ("404", "NoSuchBucket", "NotFound"):
                raise _no_bucket(bucket) from None
        self._known_buckets.add(bucket)

    @contextmanager
    def _in_our_words(self, place: str) -> Iterator[None]:
        """Turn what boto3 raises into a ``StoreError`` that says what to do."""
        from botocore import exceptions as aws
        from s3transfer.exceptions import RetriesExceededError

        try:
            yield
        except aws.ClientError as exc:
            raise _refusal(exc, place) from exc
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as exc:
            raise StoreError(
                f"{place}: there are no credentials for S3 ({exc})",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or s3.profile in the config.",
            ) from exc
        except (aws.HTTPClientError, aws.ConnectionError, RetriesExceededError, aws.IncompleteReadError) as exc:
            where = self._settings.endpoint_url or "S3"
            raise StoreUnreachable(
                f"{place}: {where} does not answer ({exc})",
                hint="Check the network, s3.endpoint_url and s3.region.",
                retry_after_s=5.0,
            ) from exc
        except aws.BotoCoreError as exc:
            raise StoreError(f"{place}: {exc}", hint="Check s3 in the config and the AWS_* variables.") from exc


class _Bodies:
    """The bodies of what is being downloaded. s3transfer leaves those of a download that is broken off open, and
    each holds a connection until the garbage collector comes by. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: defaultdict[str, list[StreamingBody]] = defaultdict(list)  # by place

    def watch(self, client: S3Client) -> None:
        """Note the body of every GET of this client from now on."""
        client.meta.events.register("before-parameter-build.s3.GetObject", self._asked)
        client.meta.events.register("after-call.s3.GetObject", self._answered)

    def close(self, place: str) -> None:
        """Close what the GETs of an object have left, when its download has ended."""
        with self._lock:
            bodies = self._open.pop(place, [])
        for body in bodies:
            body.close()

    def _asked(self, params: dict[str, Any], context: dict[str, Any], **kwargs: Any) -> None:
        context["mux_place"] = f"s3://{params['Bucket']}/{params['Key']}"

    def _answered(self, parsed: dict[str, Any], context: dict[str, Any], **kwargs: Any) -> None:
        if "Body" in parsed:
            with self._lock:
                self._open[context["mux_place"]].append(parsed["Body"])


def _make_client(settings: S3Settings) -> S3Client:
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(profile_name=settings.profile, region_name=settings.region)
    options: dict[str, Any] = {}
    if settings.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        options["s3"] = {"addressing_style": "path"}  # bucket.minio would need a DNS name of its own
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": settings.max_attempts, "mode": "standard"},
        max_pool_connections=_PARALLEL_PARTS + 8,
        **options,
    )
    return session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
        config=config,
    )


def _subscriber(one: S3Object, progress: Callable[[int], None]) -> Any:
    from s3transfer.subscribers import BaseSubscriber

    class Subscriber(BaseSubscriber):
        """Tells the transfer what HEAD said, which saves a request, and pins it to that version."""

        def on_queued(self, future: Any, **kwargs: Any) -> None:
            future.meta.provide_transfer_size(one.size_bytes)
            future.meta.provide_object_etag(one.etag)

        def on_progress(self, future: Any, bytes_transferred: int, **kwargs: Any) -> None:
            progress(bytes_transferred)

    return Subscriber()


def _code(exc: Any) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))


def _no_bucket(bucket: str) -> StoreError:
    return StoreError(
        f"there is no bucket {bucket!r}", hint="Check the deployment's source, s3.endpoint_url and s3.region."
    )


def _refusal(exc: Any, place: str) -> StoreError:
    """Return the error for an answer that is none of the expected ones."""
    code = _code(exc)
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return _no_bucket(place.removeprefix("s3://").partition("/")[0])
    if code == "NoSuchKey" or status == 404:
        return ObjectNotFound(f"there is no object {place}")
    if code in _DENIED or status in (401, 403):
        return StoreError(
            f"{place}: access denied ({code})",
            hint="Check the credentials. S3 also answers this for a missing object if they may not list the bucket.",
        )
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
        return StoreUnreachable(f"{place}: S3 answered {status} ({code})", retry_after_s=5.0)
    return StoreError(f"{place}: {exc}", hint="Check s3.endpoint_url and s3.region.")
