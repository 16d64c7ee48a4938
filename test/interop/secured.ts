import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { System } from "../../cli/supervisor.ts";
import { formatApiKeyFile, hashApiKey, newApiKey } from "../../platform/api-keys.ts";
import { TestAuthority } from "../support/certificates.ts";
import { startGateway } from "../support/gateway.ts";
import { reversed } from "../support/reversed.ts";

/** A gateway that wants keys and speaks TLS. */
export interface Secured {
  /** host:port */
  readonly grpc: string;
  readonly http: string;
  readonly caFile: string;
  /** Of a submitter and admin. */
  readonly key: string;
  stop(): Promise<void>;
}

/** A second gateway of the system, in this process. */
export async function startSecured(system: System): Promise<Secured> {
  const cleanup: (() => Promise<void> | void)[] = [];
  const t = reversed({ after: (run) => void cleanup.push(run) });
  const stop = async (): Promise<void> => {
    for (const run of cleanup.splice(0)) await run();
  };
  try {
    const folder = await mkdtemp(join(tmpdir(), "arrw-interop-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const authority = await TestAuthority.create(folder);
    const { certFile, keyFile } = await authority.issue({ name: "gateway" });
    const key = newApiKey();
    const keysFile = join(folder, "keys.json");
    const hash = hashApiKey(key).toString("hex");
    const keys = [{ name: "interop", role: "admin" as const, sha256: [hash] }];
    await writeFile(keysFile, formatApiKeyFile({ keys }), { mode: 0o600 });
    const addressOf = (setting: string): string =>
      system.addresses.find((each) => each.setting === setting)?.address ?? "";
    const gateway = await startGateway(t, {
      natsUrl: system.natsUrl,
      schedulers: [addressOf("ARRW_SCHEDULER_GRPC_PORT")],
      index: addressOf("ARRW_INDEX_GRPC_PORT"),
      env: { ARRW_TLS_CERT_FILE: certFile, ARRW_TLS_KEY_FILE: keyFile, ARRW_API_KEYS_FILE: keysFile },
    });
    return {
      grpc: gateway.address,
      http: gateway.probes.replace("http://", ""),
      caFile: authority.caFile,
      key,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
