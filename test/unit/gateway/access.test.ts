import assert from "node:assert/strict";
import { test } from "node:test";
import { API_KEY_ROLES } from "../../../platform/api-keys.ts";
import { JobServiceService } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceService } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { ACCESS, type Method, refusalOf } from "../../../services/gateway/domain/access.ts";
import { ROLES, type Role } from "../../../services/gateway/domain/principal.ts";

const METHODS = [JobServiceService, LibraryServiceService, QueueServiceService].flatMap((service) =>
  Object.entries(service),
);

const callable = (role: Role, libraries?: readonly string[]): string[] =>
  Object.entries(ACCESS)
    .filter(([, access]) => refusalOf({ name: "n", role, libraries }, access) === undefined)
    .map(([method]) => method)
    .sort();

test("the table has every method of the API, each under a name of its own, and no other", () => {
  assert.deepEqual(Object.keys(ACCESS).sort(), METHODS.map(([name]) => name).sort());
});

test("what only reads is for viewers, and nothing that changes something is", () => {
  for (const [name, { path }] of METHODS) {
    const reads = /\/(Get|List|Watch|Search|Download)[A-Za-z]*$/.test(path);
    const { role, mutates } = ACCESS[name as Method];
    assert.equal(mutates, !reads, name);
    assert.equal(role === "viewer", reads, name);
  }
});

test("nothing that answers with a stream changes something: such calls are not audited", () => {
  for (const [name, { responseStream }] of METHODS)
    assert.ok(!(responseStream && ACCESS[name as Method].mutates), name);
});

test("each role may do what those below it may, and admins alone what can't be taken back", () => {
  const [viewer, submitter, admin] = ROLES.map((role) => callable(role));
  assert.ok(viewer && submitter && admin);
  assert.deepEqual(
    submitter.filter((method) => !viewer.includes(method)),
    [
      "cancelJob",
      "cancelJobs",
      "deleteDocument",
      "importDocuments",
      "retryJob",
      "retryJobs",
      "submitJob",
      "submitJobs",
    ],
  );
  assert.deepEqual(
    viewer.filter((method) => !submitter.includes(method)),
    [],
  );
  assert.deepEqual(admin, Object.keys(ACCESS).sort());
  assert.deepEqual(
    admin.filter((method) => !submitter.includes(method)),
    [
      "createLibrary",
      "deleteJob",
      "deleteJobs",
      "deleteLibrary",
      "drainWorker",
      "pauseQueue",
      "resumeQueue",
      "rollbackGeneration",
      "setQueueLimit",
    ],
  );
});

test("operators' calls are not for those that are confined to libraries, of whichever role", () => {
  const confined = callable("admin", ["docs"]);
  const missing = callable("admin").filter((method) => !confined.includes(method));
  assert.deepEqual(missing, ["drainWorker", "listWorkers", "pauseQueue", "resumeQueue", "setQueueLimit"]);
  assert.equal(refusalOf({ name: "n", role: "viewer", libraries: [] }, ACCESS.pauseQueue), "ROLE_TOO_LOW");
  assert.equal(
    refusalOf({ name: "n", role: "admin", libraries: ["*"] }, ACCESS.listWorkers),
    "CONFINED_TO_LIBRARIES",
  );
});

test("the file of API keys has the roles that the gateway knows", () => {
  assert.deepEqual([...API_KEY_ROLES], [...ROLES]);
});
