import assert from "node:assert/strict";
import { hostname } from "node:os";
import { test } from "node:test";
import { loadConfig, redacted } from "../../../platform/config.ts";
import { advertisedAddress, loadSchedulerConfig } from "../../../services/scheduler/config.ts";

test("the gateway takes one scheduler's address or several", () => {
  const load = (value: string) => loadConfig(["ARRW_SCHEDULER_ADDRESS"], { ARRW_SCHEDULER_ADDRESS: value });
  for (const good of ["127.0.0.1:50052", "scheduler-1.internal:1,scheduler-2.internal:50052"]) {
    assert.equal(load(good).ARRW_SCHEDULER_ADDRESS, good);
  }
  const many = Array.from({ length: 17 }, (_, n) => `s${n}:1`).join(",");
  for (const bad of ["", "scheduler", "a:1,", ",a:1", "a:1,,b:2", "a:1, b:2", "a:1;b:2", many]) {
    assert.throws(() => load(bad), /^ConfigError: ARRW_SCHEDULER_ADDRESS: /, bad);
  }
});

test("a scheduler advertises what it is told, else where it listens, else the machine's name", () => {
  const advertised = (env: Readonly<Record<string, string>>): string =>
    advertisedAddress(loadSchedulerConfig(env));
  assert.equal(advertised({}), "127.0.0.1:50052");
  const open = { ARRW_HOST: "0.0.0.0", ARRW_ALLOW_UNAUTHENTICATED: "true" };
  assert.equal(advertised({ ...open, ARRW_SCHEDULER_GRPC_PORT: "7000" }), `${hostname()}:7000`);
  assert.equal(advertised({ ARRW_SCHEDULER_ADVERTISE_ADDRESS: "scheduler-1:50052" }), "scheduler-1:50052");
  assert.throws(() => advertised({ ARRW_SCHEDULER_ADVERTISE_ADDRESS: "scheduler-1" }), /host:port/);
});

test("keys and passwords are shown neither in the log of the start nor in its errors", () => {
  const names = ["ARRW_OPENAI_API_KEY", "ARRW_COHERE_API_KEY", "ARRW_NATS_URL"] as const;
  const settings = loadConfig(names, {
    ARRW_OPENAI_API_KEY: "sk-secret",
    ARRW_COHERE_API_KEY: "co-secret",
    ARRW_NATS_URL: "nats://me:pa-secret@host:4222",
  });
  assert.equal(settings.ARRW_OPENAI_API_KEY, "sk-secret");
  assert.deepEqual(redacted(settings), {
    ARRW_OPENAI_API_KEY: "***",
    ARRW_COHERE_API_KEY: "***",
    ARRW_NATS_URL: "nats://***@host:4222",
  });
  for (const url of ["https://me:pa-secret@host/v1", "ftp://host", "host", "https://host/?key=pa-secret"]) {
    const load = () => loadConfig(["ARRW_OPENAI_BASE_URL"], { ARRW_OPENAI_BASE_URL: url });
    assert.throws(load, (error: Error) => {
      assert.match(error.message, /^ARRW_OPENAI_BASE_URL: .*without name or password/);
      return !error.message.includes("pa-secret");
    });
  }
});
