import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArrwError } from "../../../platform/errors.ts";
import { ClientUses, Failures } from "../../../services/gateway/access/limits.ts";
import { networkOf } from "../../../services/gateway/domain/network.ts";
import { fullAgainMs, type Rate, waitMs } from "../../../services/gateway/domain/rate-limit.ts";

const rates = fc.record({
  perSecond: fc.integer({ min: 1, max: 10_000 }),
  burst: fc.integer({ min: 1, max: 20_000 }),
});
const gaps = fc.array(fc.double({ min: 0, max: 3_000, noNaN: true }), { minLength: 1, maxLength: 300 });
/** Times are doubles. */
const SLACK_MS = 1e-6;

/** Times at which requests after these gaps were let in. */
function admitted(rate: Rate, gapsMs: readonly number[]): number[] {
  const times: number[] = [];
  let now = 1_000_000;
  let full = 0;
  for (const gap of gapsMs) {
    now += gap;
    if (waitMs(full, now, rate) > SLACK_MS) continue;
    full = fullAgainMs(full, now, rate);
    times.push(now);
  }
  return times;
}

test("in no time more get in than a full bucket and what came in meanwhile", () => {
  fc.assert(
    fc.property(rates, gaps, (rate, gapsMs) => {
      const times = admitted(rate, gapsMs);
      for (const [from, begin] of times.entries()) {
        for (let to = from; to < times.length; to += 1) {
          const most = rate.burst + (((times[to] ?? 0) - begin) * rate.perSecond) / 1_000;
          assert.ok(to - from + 1 <= most + 1e-3, `${to - from + 1} in ${(times[to] ?? 0) - begin} ms`);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("who keeps to the rate, or asks for no more than the burst at once, never waits", () => {
  fc.assert(
    fc.property(rates, fc.integer({ min: 1, max: 200 }), (rate, count) => {
      const steady = Array<number>(count).fill(1_000 / rate.perSecond);
      assert.equal(admitted(rate, steady).length, count);
      const atOnce = Array<number>(count).fill(0);
      assert.equal(admitted(rate, atOnce).length, Math.min(count, rate.burst));
    }),
  );
});

test("who waits as long as told gets in, and not a moment before", () => {
  fc.assert(
    fc.property(rates, gaps, (rate, gapsMs) => {
      let now = 1_000_000;
      let full = 0;
      for (const gap of gapsMs) {
        now += gap;
        const wait = waitMs(full, now, rate);
        if (wait > SLACK_MS) assert.ok(waitMs(full, now + wait / 2, rate) > 0);
        now += wait;
        assert.ok(waitMs(full, now, rate) <= SLACK_MS);
        full = fullAgainMs(full, now, rate);
      }
    }),
    { numRuns: 60 },
  );
});

function refusal(run: () => unknown): ArrwError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ArrwError);
    return error;
  }
  assert.fail("nothing was refused");
}

test("clients have limits of their own: of requests a second, of requests and of streams under way", () => {
  let now = 5_000;
  const uses = new ClientUses({ requestsPerSecond: 10, maxRequests: 2, maxStreams: 1 }, () => now);
  for (let n = 0; n < 20; n += 1) uses.count("a");
  const often = refusal(() => uses.count("a"));
  assert.deepEqual(
    [often.code, often.reason, often.retryAfterMs],
    ["RESOURCE_EXHAUSTED", "RATE_LIMITED", 100],
  );
  uses.count("b");
  now += 100;
  const use = uses.count("a");
  uses.begin(use, false);
  uses.begin(use, false);
  uses.begin(use, true);
  const requests = refusal(() => uses.begin(use, false));
  const streams = refusal(() => uses.begin(use, true));
  assert.deepEqual(
    [requests, streams].map(({ code, reason, metadata }) => [code, reason, metadata]),
    [
      ["RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS", { limit: "2" }],
      ["RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", { limit: "1" }],
    ],
  );
  assert.ok((requests.retryAfterMs ?? 0) > 0 && (streams.retryAfterMs ?? 0) > 0);
  uses.end(use, true);
  uses.begin(use, true);
  uses.end(use, false);
  uses.begin(use, false);
});

test("a rate of 0 is none", () => {
  const uses = new ClientUses({ requestsPerSecond: 0, maxRequests: 1, maxStreams: 1 }, () => 1);
  for (let n = 0; n < 10_000; n += 1) uses.count("a");
});

test("wrong credentials: 20 at once from a network, then 5 a second", () => {
  let now = 5_000;
  const failures = new Failures(() => now);
  for (let n = 0; n < 20; n += 1) {
    failures.check("net");
    failures.add("net");
  }
  assert.equal(refusal(() => failures.check("net")).reason, "RATE_LIMITED");
  failures.check("other");
  now += 199;
  assert.equal(refusal(() => failures.check("net")).retryAfterMs, 1);
  now += 1;
  failures.check("net");
});

test("an IPv6 client has a /64, an IPv4 client its address, mapped or not", () => {
  const cases = [
    ["10.1.2.3", "10.1.2.3"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["::1", "0:0:0:0::/64"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::6", "2001:db8:1:2::/64"],
    ["2001:0db8:1:2::", "2001:db8:1:2::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["64:ff9b::1.2.3.4", "64:ff9b:0:0::/64"],
    ["unknown", "unknown"],
  ];
  for (const [address = "", network] of cases) assert.equal(networkOf(address), network, address);
});
