import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { startSystem } from "../../cli/supervisor.ts";
import { fromServiceError } from "../../client/error.ts";
import { ArrwClient } from "../../client/index.ts";
import { formatApiKeyFile, hashApiKey, newApiKey } from "../../platform/api-keys.ts";
import { type Cleanup, tempDir } from "./temp.ts";

/** Somebody with an API key: calls of every method by the generated definitions, and the library client. */
export interface Tenant {
  readonly client: ArrwClient;
  /** @param requests fields of the request that aren't default; of a stream of requests those of each */
  call(method: MethodShape, requests: object | readonly object[]): Promise<Outcome>;
}

export type MethodShape = MethodDefinition<never, unknown>;

/** What came of a call: its messages, of an endless stream the first; or why it failed. */
export type Outcome =
  | { readonly messages: readonly unknown[]; readonly error?: undefined }
  | {
      readonly messages?: undefined;
      readonly error: Readonly<Record<"code" | "reason" | "message" | "details", string>>;
    };

const CALL_MS = 15_000;

/** All of arrwDB as processes, with a key for each of the tenants: those who are confined say to which libraries. */
export async function startTenants<Name extends string>(
  t: Cleanup,
  tenants: Readonly<Record<Name, readonly string[] | undefined>>,
) {
  const names = Object.keys(tenants) as Name[];
  const keys = new Map(names.map((name) => [name, newApiKey()]));
  const file = join(await tempDir(t), "keys.json");
  const entries = names.map((name) => {
    const libraries = tenants[name];
    const sha256 = [hashApiKey(keys.get(name) ?? "").toString("hex")];
    return { name, role: "admin" as const, sha256, ...(libraries ? { libraries: [...libraries] } : {}) };
  });
  await writeFile(file, formatApiKeyFile({ keys: entries }), { mode: 0o600 });
  const settings = { ARRW_API_KEYS_FILE: file };
  const system = await startSystem({ temporary: true, syncAlways: false, settings });
  t.after(() => system.stop());
  const raw = new Client(system.address, credentials.createInsecure());
  t.after(() => raw.close());
  const made = names.map((name) => {
    const apiKey = keys.get(name) ?? "";
    const client = new ArrwClient({ address: system.address, apiKey });
    t.after(() => client.close());
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${apiKey}`);
    const call: Tenant["call"] = (method, requests) => outcomeOf(raw, metadata, method, requests);
    return [name, { client, call }] as const;
  });
  return { system, tenants: Object.fromEntries(made) as unknown as Record<Name, Tenant> };
}

async function outcomeOf(
  client: Client,
  metadata: Metadata,
  method: MethodShape,
  requests: object | readonly object[],
): Promise<Outcome> {
  try {
    const filled = [requests].flat().map((fields) => withDefaults(method, fields));
    return { messages: await messagesOf(client, metadata, method, filled) };
  } catch (thrown) {
    const { code, reason, message, metadata: details, violations } = fromServiceError(thrown as ServiceError);
    return { error: { code, reason, message, details: JSON.stringify([details, violations]) } };
  }
}

function withDefaults({ requestDeserialize }: MethodShape, fields: object): never {
  return { ...(requestDeserialize(Buffer.alloc(0)) as object), ...fields } as never;
}

async function messagesOf(
  client: Client,
  metadata: Metadata,
  method: MethodShape,
  requests: readonly never[],
): Promise<unknown[]> {
  const { path, requestSerialize, responseDeserialize } = method;
  const options = { deadline: Date.now() + CALL_MS };
  const [first] = requests;
  if (method.responseStream) {
    const stream: ClientReadableStream<unknown> = client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      first as never,
      metadata,
      options,
    );
    for await (const message of stream) {
      stream.on("error", () => undefined).cancel();
      return [message];
    }
    return [];
  }
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, message?: unknown): void =>
      error ? reject(error) : resolve([message]);
    if (!method.requestStream) {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        first as never,
        metadata,
        options,
        done,
      );
      return;
    }
    const stream = client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      options,
      done,
    );
    for (const request of requests) stream.write(request);
    stream.end();
  });
}
