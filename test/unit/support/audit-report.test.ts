import assert from "node:assert/strict";
import { test } from "node:test";
import { verdictOf } from "../../support/audit-report.ts";

const counts = (high: number, critical = 0) => ({
  vulnerabilities: { info: 0, low: 1, moderate: 2, high, critical, total: 3 + high + critical },
});

test("an audit without severe findings is clean, whatever lesser ones there are", () => {
  const vulnerabilities = { a: { severity: "low" }, b: { severity: "moderate" } };
  const report = JSON.stringify({ auditReportVersion: 2, vulnerabilities, metadata: counts(0) });
  assert.deepEqual(verdictOf(report), { kind: "clean", minor: 3 });
});

test("high and critical ones are named", () => {
  const vulnerabilities = {
    a: { severity: "low", range: "*" },
    b: { severity: "high", range: "<1.2.3" },
    c: { severity: "critical", range: "2.x" },
  };
  const report = JSON.stringify({ auditReportVersion: 2, vulnerabilities, metadata: counts(1, 1) });
  assert.deepEqual(verdictOf(report), {
    kind: "vulnerable",
    packages: ["b <1.2.3 (high)", "c 2.x (critical)"],
  });
  const unnamed = JSON.stringify({ vulnerabilities: {}, metadata: counts(2) });
  assert.deepEqual(verdictOf(unnamed), { kind: "vulnerable", packages: ["2 packages"] });
});

test("a registry that doesn't answer audits is neither clean nor vulnerable", () => {
  const refused = JSON.stringify({ message: "405 Method Not Allowed - POST", statusCode: 405, error: {} });
  assert.deepEqual(verdictOf(refused), { kind: "unavailable", why: "405 Method Not Allowed - POST" });
  const offline = JSON.stringify({ error: { code: "ENOTFOUND", summary: "request failed" } });
  assert.deepEqual(verdictOf(offline), { kind: "unavailable", why: "request failed" });
  for (const output of ["", "npm error", "null", "[]", "{}", "7"]) {
    assert.equal(verdictOf(output).kind, "unavailable", output);
  }
});
