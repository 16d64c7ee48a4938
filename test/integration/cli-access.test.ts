import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError, status } from "@grpc/grpc-js";
import { ArrwClient } from "../../client/index.ts";
import { GetQueueStatsResponse, JobServiceService } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { arrw, type CliResult } from "../support/arrw.ts";
import { TestAuthority } from "../support/certificates.ts";
import { type Cleanup, tempDir } from "../support/temp.ts";

/** `arrw` and gateways that want TLS, a certificate, a key; and what it says where they don't come together. */

const KEY = "arrw_the-right-one";
const cleanups: (() => Promise<void> | void)[] = [];
const cleanup: Cleanup = { after: (run) => void cleanups.unshift(run) };
let folder: string;
let authority: TestAuthority;
let other: TestAuthority;
let own: { certFile: string; keyFile: string };
let plain: string;
let secure: string;
let mutual: string;

type Answer = (error: Partial<ServiceError> | null, response?: unknown) => void;

async function gateway(credentials: ServerCredentials): Promise<string> {
  const server = new Server();
  server.addService(JobServiceService, {
    getQueueStats: (call: ServerUnaryCall<unknown, unknown>, answer: Answer) => {
      const [shown] = call.metadata.get("authorization");
      if (shown === `Bearer ${KEY}`) answer(null, GetQueueStatsResponse.fromPartial({ running: true }));
      else answer({ code: status.UNAUTHENTICATED, details: "no valid credentials" });
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  cleanup.after(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

before(async () => {
  folder = await tempDir(cleanup);
  authority = await TestAuthority.create(join(folder, "ours"));
  other = await TestAuthority.create(join(folder, "theirs"));
  const { certFile, keyFile } = await authority.issue({ name: "gateway" });
  own = await authority.issue({ name: "client" });
  const ca = readFileSync(authority.caFile);
  const pair = { cert_chain: readFileSync(certFile), private_key: readFileSync(keyFile) };
  plain = await gateway(ServerCredentials.createInsecure());
  secure = await gateway(ServerCredentials.createSsl(null, [pair]));
  mutual = await gateway(ServerCredentials.createSsl(ca, [pair], true));
  await writeFile(join(folder, "key"), `${KEY}\n`);
  await writeFile(join(folder, "wrong-key"), "arrw_another");
});
after(async () => {
  for (const run of cleanups) await run();
});

const stats = (address: string, ...args: string[]): Promise<CliResult> => arrw(address, ["stats", ...args]);

test("a key from a file, TLS, and a certificate of the client", async () => {
  const key = ["--api-key-file", join(folder, "key")];
  const tls = ["--tls-ca", authority.caFile];
  const shown = await Promise.all([
    stats(plain, ...key),
    stats(secure, ...key, ...tls),
    stats(mutual, ...key, ...tls, "--tls-cert", own.certFile, "--tls-key", own.keyFile),
  ]);
  for (const { code, stderr } of shown) assert.equal(code, 0, stderr);
});

test("the client library does the same", async () => {
  const client = new ArrwClient({ address: mutual, apiKey: KEY, tls: { caFile: authority.caFile, ...own } });
  try {
    assert.equal((await client.stats()).running, true);
  } finally {
    client.close();
  }
});

test("without the right key: exit code 5, and how to give one", async () => {
  for (const args of [[], ["--api-key-file", join(folder, "wrong-key")]]) {
    const { code, stderr } = await stats(plain, ...args);
    assert.equal(code, 5);
    assert.equal(stderr, "error: no valid credentials; a key is given by ARRW_API_KEY or --api-key-file\n");
  }
  const { code, stderr } = await stats(plain, "--api-key-file", join(folder, "none"));
  assert.equal(code, 5);
  assert.match(stderr, /no token: ENOENT.*none/);
});

test("why there is no connection: exit code 3, and what to say instead", async () => {
  const ca = ["--tls-ca", authority.caFile];
  const http = createServer((_request, response) => response.end());
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  cleanup.after(() => {
    http.close();
    http.closeAllConnections();
  });
  const web = `127.0.0.1:${(http.address() as AddressInfo).port}`;
  const cases: [CliResult | Promise<CliResult>, RegExp][] = [
    [stats(secure), /: it speaks TLS: say --tls-ca FILE/],
    [stats(plain, ...ca), /: it speaks no TLS: leave --tls and --tls-ca out/],
    [stats(secure, "--tls-ca", other.caFile), /: its certificate is of no authority that is in .*theirs/],
    [stats(secure, "--tls"), /: its certificate is of no authority that is known; say --tls-ca FILE/],
    [stats(secure, ...ca, "--tls-server-name", "else.where"), /: its certificate is for another name/],
    [stats(mutual, ...ca), /: it wants a certificate of the client: say --tls-cert and --tls-key/],
    [stats(web), /: that is an HTTP port; the gRPC API has one of its own/],
    [stats("no-such-host.invalid:1"), /: (no such host|nothing answers there)/],
    [stats("localhost"), /: expected host:port/],
  ];
  for (const [result, expected] of cases) {
    const { code, stderr } = await result;
    assert.match(stderr, expected);
    assert.equal(code, 3, stderr);
  }
});

test("options that don't go together, and files that aren't there: exit code 2", async () => {
  const cases: [Promise<CliResult>, RegExp][] = [
    [stats(plain, "--tls-cert", own.certFile), /with --tls or --tls-ca/],
    [stats(plain, "--tls-ca", join(folder, "none.pem")), /caFile: ENOENT/],
    [stats(plain, "--tls-ca", authority.caFile, "--tls-cert", own.certFile), /cert and key go together/],
  ];
  for (const [result, expected] of cases) {
    const { code, stderr } = await result;
    assert.match(stderr, expected);
    assert.equal(code, 2, stderr);
  }
});
