/**
 * Imports three poems, watches the job to its end, searches, and shows what an error carries: with @grpc/grpc-js alone,
 * as from any JavaScript. (In TypeScript ArrwClient does more: ../import-watch-search.ts.)
 *
 * ARRW_ADDRESS says where the gateway is, ARRW_API_KEY who calls, ARRW_TLS_CA_FILE turns TLS on.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { credentials, loadPackageDefinition, Metadata, status } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";

const { ARRW_ADDRESS = "127.0.0.1:50051", ARRW_API_KEY, ARRW_TLS_CA_FILE } = process.env;
const TIMEOUT_MS = 30_000;

// The compiled proto files: no generated code is needed.
const descriptors = readFileSync(new URL("../../proto/gen/descriptors.binpb", import.meta.url));
const types = loadFileDescriptorSetFromBuffer(descriptors, { keepCase: true, longs: Number, enums: String });
const { JobService, LibraryService } = loadPackageDefinition(types).arrwdb.v1;

const channel = ARRW_TLS_CA_FILE
  ? credentials.createSsl(readFileSync(ARRW_TLS_CA_FILE))
  : credentials.createInsecure();
const jobs = new JobService(ARRW_ADDRESS, channel);
const libraries = new LibraryService(ARRW_ADDRESS, channel);
const metadata = new Metadata();
if (ARRW_API_KEY) metadata.set("authorization", `Bearer ${ARRW_API_KEY}`);

/** Calls a method with one request and one answer. */
function call(client, method, request) {
  return promisify(client[method].bind(client))(request, metadata, { deadline: Date.now() + TIMEOUT_MS });
}

const poems = [
  {
    document_id: "sonnet-18",
    title: "Sonnet 18",
    author: "William Shakespeare",
    texts: ["Shall I compare thee to a summer's day? Thou art more lovely and more temperate."],
  },
  {
    document_id: "the-tyger",
    title: "The Tyger",
    author: "William Blake",
    texts: ["Tyger Tyger, burning bright, in the forests of the night."],
    // A map is a list of its entries in compiled proto files.
    metadata: { fields: [{ key: "year", value: { number_value: 1794 } }] },
  },
  {
    document_id: "the-lamb",
    title: "The Lamb",
    author: "William Blake",
    texts: ["Little Lamb who made thee, dost thou know who made thee?"],
  },
];

/** Sends one header, then the documents; any number of them, as fast as they are taken. */
async function importDocuments(libraryId) {
  const { promise, done } = answer();
  const stream = jobs.ImportDocuments(metadata, { deadline: Date.now() + TIMEOUT_MS }, done);
  // Sent again with the same request_id it is still one job.
  stream.write({ header: { library_id: libraryId, request_id: randomUUID() } });
  for (const document of poems) {
    if (!stream.write({ document })) await new Promise((resolve) => stream.once("drain", resolve));
  }
  stream.end();
  return (await promise).job;
}

function answer() {
  let done;
  const promise = new Promise((resolve, reject) => {
    done = (error, response) => (error ? reject(error) : resolve(response));
  });
  return { promise, done };
}

/** The stream ends by itself, after the job's last state. Broken off, it goes on behind the last revision seen. */
async function watch(jobId) {
  for (let job; ; await delay(1_000)) {
    try {
      const request = { job_id: jobId, after_revision: job?.revision ?? 0 };
      for await (const update of jobs.WatchJob(request, metadata)) {
        job = update.job;
        const state = job.status.replace("JOB_STATUS_", "").toLowerCase();
        console.log(`  ${state}, ${job.progress?.current ?? 0} of ${job.progress?.total ?? 0} documents`);
      }
      return job;
    } catch (error) {
      if (error.code !== status.UNAVAILABLE) throw error;
    }
  }
}

/** An error's code and message, and the google.rpc details that the gateway gives it. */
function explain(error) {
  const lines = [`${status[error.code]}: ${error.details}`];
  const [encoded] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = encoded ? types["google.rpc.Status"].deserialize(encoded).details : [];
  for (const { type_url, value } of details) {
    const detail = types[type_url.split("/")[1]]?.deserialize(value);
    if (type_url.endsWith("google.rpc.ErrorInfo")) lines.push(`  reason ${detail.reason}`);
    for (const each of detail?.field_violations ?? []) lines.push(`  ${each.field}: ${each.description}`);
  }
  return lines.join("\n");
}

async function main() {
  const { library } = await call(libraries, "CreateLibrary", {});
  const libraryId = library.library_id;
  const { job_id: jobId } = await importDocuments(libraryId);
  console.log(`job ${jobId} imports into library ${libraryId}`);
  const job = await watch(jobId);
  if (job.status !== "JOB_STATUS_COMPLETED")
    throw new Error(`the job did not complete: ${job.error?.message}`);
  console.log(`${job.result.batch_import.imported} documents imported`);

  const query = { library_id: libraryId, text: "a tyger in the night", k: 1, include_text: true };
  const { hits } = await call(libraries, "Search", query);
  for (const { score, title, text } of hits) console.log(`${score.toFixed(3)}  ${title}: ${text}`);

  await call(libraries, "Search", { library_id: libraryId, k: -1 }).catch((error) =>
    console.log(explain(error)),
  );
  await call(libraries, "DeleteLibrary", { library_id: libraryId });
}

try {
  await main();
} catch (error) {
  console.error(error.metadata ? explain(error) : error.message);
  process.exitCode = 1;
} finally {
  jobs.close();
  libraries.close();
}
