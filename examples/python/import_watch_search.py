"""Imports three poems, watches the job to its end, searches, and shows what an error carries.

ARRW_ADDRESS says where the gateway is, ARRW_API_KEY who calls, ARRW_TLS_CA_FILE turns TLS on.
"""

import os
import sys
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from arrwdb.v1 import document_pb2, jobs_pb2, jobs_pb2_grpc, libraries_pb2, libraries_pb2_grpc

ADDRESS = os.environ.get("ARRW_ADDRESS", "127.0.0.1:50051")
API_KEY = os.environ.get("ARRW_API_KEY", "")
CA_FILE = os.environ.get("ARRW_TLS_CA_FILE", "")
TIMEOUT = 30  # seconds; a watch needs none
METADATA = [("authorization", f"Bearer {API_KEY}")] if API_KEY else []


def connect() -> grpc.Channel:
    options = [("grpc.keepalive_time_ms", 60_000)]
    if not CA_FILE:
        return grpc.insecure_channel(ADDRESS, options)
    with open(CA_FILE, "rb") as file:
        return grpc.secure_channel(ADDRESS, grpc.ssl_channel_credentials(file.read()), options)


def poems():
    yield document_pb2.Document(
        document_id="sonnet-18",
        title="Sonnet 18",
        author="William Shakespeare",
        texts=["Shall I compare thee to a summer's day? Thou art more lovely and more temperate."],
    )
    tyger = document_pb2.Document(
        document_id="the-tyger",
        title="The Tyger",
        author="William Blake",
        texts=["Tyger Tyger, burning bright, in the forests of the night."],
    )
    tyger.metadata.update({"year": 1794})
    yield tyger
    yield document_pb2.Document(
        document_id="the-lamb",
        title="The Lamb",
        author="William Blake",
        texts=["Little Lamb who made thee, dost thou know who made thee?"],
    )


def import_requests(library_id: str):
    """One header, then the documents; any number of them, as they are made."""
    # Sent again with the same request_id it is still one job.
    header = jobs_pb2.SubmitJobRequest(library_id=library_id, request_id=str(uuid.uuid4()))
    yield jobs_pb2.ImportDocumentsRequest(header=header)
    for document in poems():
        yield jobs_pb2.ImportDocumentsRequest(document=document)


def watch(jobs: jobs_pb2_grpc.JobServiceStub, job_id: str) -> jobs_pb2.Job:
    """The stream ends by itself, after the job's last state. Broken off, it goes on behind the last revision seen."""
    revision = 0
    job = None
    while True:
        request = jobs_pb2.WatchJobRequest(job_id=job_id, after_revision=revision)
        try:
            for update in jobs.WatchJob(request, metadata=METADATA):
                job, revision = update.job, update.job.revision
                status = jobs_pb2.JobStatus.Name(job.status).removeprefix("JOB_STATUS_").lower()
                print(f"  {status}, {job.progress.current} of {job.progress.total} documents")
            return job
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise


def explain(error: grpc.RpcError) -> str:
    """An error's code and message, and the google.rpc details that the gateway gives it."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            lines.append(f"  reason {info.reason}")
        elif detail.Unpack(bad):
            lines += [f"  {each.field}: {each.description}" for each in bad.field_violations]
    return "\n".join(lines)


def main() -> int:
    with connect() as channel:
        jobs = jobs_pb2_grpc.JobServiceStub(channel)
        libraries = libraries_pb2_grpc.LibraryServiceStub(channel)
        call = {"metadata": METADATA, "timeout": TIMEOUT}

        created = libraries.CreateLibrary(libraries_pb2.CreateLibraryRequest(), **call)
        library_id = created.library.library_id
        submitted = jobs.ImportDocuments(import_requests(library_id), **call)
        print(f"job {submitted.job.job_id} imports into library {library_id}")
        job = watch(jobs, submitted.job.job_id)
        if job.status != jobs_pb2.JOB_STATUS_COMPLETED:
            print(f"the job did not complete: {job.error.code} {job.error.message}", file=sys.stderr)
            return 1
        print(f"{job.result.batch_import.imported} documents imported")

        query = libraries_pb2.SearchRequest(
            library_id=library_id, text="a tyger in the night", k=1, include_text=True
        )
        for hit in libraries.Search(query, **call).hits:
            print(f"{hit.score:.3f}  {hit.title}: {hit.text}")

        try:
            libraries.Search(libraries_pb2.SearchRequest(library_id=library_id, k=-1), **call)
        except grpc.RpcError as error:
            print(explain(error))

        libraries.DeleteLibrary(libraries_pb2.DeleteLibraryRequest(library_id=library_id), **call)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as failure:
        print(explain(failure), file=sys.stderr)
        sys.exit(1)
