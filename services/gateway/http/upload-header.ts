import type { ReceivedSubmit } from "../received.ts";
import { ReceivingJobService } from "../received.ts";
import type { JsonCodec } from "./codec.ts";
import { type Parameter, Parameters } from "./parameters.ts";

/** The job of an import whose body is its documents: what a batch_import's body says besides them, as parameters. */

const TYPE = "arrwdb.v1.SubmitJobRequest";

export const UPLOAD_PARAMETERS: readonly Parameter[] = [
  { name: "request_id" },
  { name: "chunk_size", field: "spec.batch_import.chunk_size" },
  { name: "chunk_overlap", field: "spec.batch_import.chunk_overlap" },
  { name: "label", field: "labels", about: "key:value" },
  { name: "max_retries" },
  { name: "run_at" },
  { name: "execution_timeout" },
  { name: "total_timeout" },
  { name: "concurrency_key" },
  { name: "concurrency_limit" },
  { name: "backoff_initial", field: "retry_policy.backoff_initial" },
  { name: "backoff_max", field: "retry_policy.backoff_max" },
  { name: "backoff_multiplier", field: "retry_policy.backoff_multiplier" },
  { name: "jitter", field: "retry_policy.jitter" },
];

export class UploadHeader {
  readonly #codec: JsonCodec;
  readonly #parameters: Parameters;

  constructor(codec: JsonCodec) {
    this.#codec = codec;
    this.#parameters = new Parameters(codec.messageType(TYPE), UPLOAD_PARAMETERS);
  }

  /** @throws ArrwError INVALID_ARGUMENT with all violations */
  read(libraryId: string, query: unknown): ReceivedSubmit {
    const bytes = this.#codec.encode(TYPE, { ...this.#parameters.read(query), library_id: libraryId });
    return ReceivingJobService.submitJob.requestDeserialize(bytes);
  }

  /** The error with fields named as the parameters that they came from. */
  named(error: unknown): unknown {
    return this.#parameters.named(error);
  }
}
