import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isJobVisible, isVisible } from "../../../platform/library-patterns.ts";
import {
  type Principal,
  sees,
  seesJob,
  visibleLibraries,
} from "../../../services/gateway/domain/principal.ts";
import { requestScope } from "../../../services/gateway/request-scope.ts";

const principal = (libraries: readonly string[] | undefined): Principal => {
  return { name: "test", role: "admin", libraries };
};
const library = fc.constantFrom("", "a", "ab", "a-docs", "b", "*");
const pattern = fc.constantFrom("*", "a", "a*", "a-*", "b", "");
const patterns = fc.option(fc.array(pattern, { maxLength: 3 }), { nil: undefined });

test("what the gateway says somebody sees, scheduler and index say, too", () => {
  fc.assert(
    fc.property(
      patterns,
      library,
      fc.array(library, { maxLength: 3 }),
      (libraries, libraryId, libraryIds) => {
        const who = principal(libraries);
        const told = visibleLibraries(who);
        assert.equal(isVisible(told, libraryId), sees(who, libraryId));
        const job = { libraryId, libraryIds };
        assert.equal(isJobVisible(told, job), seesJob(who, job));
        if (libraryId !== "") assert.equal(seesJob(who, job), sees(who, libraryId));
      },
    ),
  );
});

test("who is confined to nothing sees nothing; who is not confined sees all, also jobs without a library", () => {
  const alone = { libraryId: "", libraryIds: [] };
  const several = { libraryId: "", libraryIds: ["a", "b"] };
  for (const [libraries, a, none, both] of [
    [undefined, true, true, true],
    [[], false, false, false],
    [["*"], true, false, true],
    [["a"], true, false, false],
    [["a", "b*"], true, false, true],
  ] as const) {
    const who = principal(libraries);
    assert.deepEqual([sees(who, "a"), seesJob(who, alone), seesJob(who, several)], [a, none, both]);
  }
});

test("the scope of request_ids is that of the same libraries, whatever their order", () => {
  assert.equal(requestScope(principal(undefined)), "");
  const scopes = [["a", "b"], ["b", "a"], ["a", "b", "a"], ["a"], []].map((each) =>
    requestScope(principal(each)),
  );
  const [ab, ba, twice, ...others] = scopes;
  assert.deepEqual([ab, ba, twice], [ab, ab, ab]);
  assert.equal(new Set([ab, ...others, ""]).size, 4);
  for (const scope of scopes) assert.match(scope, /^[\w-]{22}$/);
});
