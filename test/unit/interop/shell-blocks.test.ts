import assert from "node:assert/strict";
import { test } from "node:test";
import {
  placeholdersAfter,
  shellBlocks,
  withAddresses,
  withPlaceholders,
} from "../../interop/shell-blocks.ts";

const FENCE = "```";
const block = (...lines: string[]): string => [`${FENCE}sh`, ...lines, FENCE].join("\n");
const commands = (...lines: string[]) => shellBlocks(block(...lines)).flatMap((each) => each.commands);

test("a command ends where its quotes, backslashes and here-documents do", () => {
  const texts = [
    "one 'a",
    "b' \\",
    "  two",
    "",
    "# a remark about what isn't run",
    "three \"it's\" # an apostrophe isn't a quote here",
    "four << END",
    "it's",
    "END",
    "five",
  ];
  assert.deepEqual(
    commands(...texts).map(({ line, text }) => [line, text]),
    [
      [2, "one 'a\nb' \\\n  two"],
      [7, "three \"it's\" # an apostrophe isn't a quote here"],
      [8, "four << END\nit's\nEND"],
      [11, "five"],
    ],
  );
  assert.throws(() => commands("one 'a"), /line 2: the command doesn't end/);
  assert.throws(() => shellBlocks(`${FENCE}sh\none`), /line 1 doesn't end/);
});

test("only shell blocks are taken, and those that aren't run say why", () => {
  const markdown = [
    `${FENCE}json\n{}\n${FENCE}`,
    "<!-- not run: needs Docker -->",
    "",
    block("docker ps"),
    "text",
    block("ls"),
  ].join("\n");
  assert.deepEqual(
    shellBlocks(markdown).map(({ line, notRun }) => [line, notRun]),
    [
      [6, "needs Docker"],
      [10, undefined],
    ],
  );
});

test("remarks say how a command ends", () => {
  const [watch, bad, plain] = commands("watch x # until Ctrl-C", "get x # fails: NOT_FOUND", "ls");
  assert.deepEqual([watch?.untilInterrupted, watch?.failure], [true, undefined]);
  assert.deepEqual([bad?.untilInterrupted, bad?.failure], [false, "NOT_FOUND"]);
  assert.deepEqual([plain?.untilInterrupted, plain?.failure], [false, undefined]);
});

test("placeholders stand for what was printed last", () => {
  const job = '{"job": {"jobId": "0197"}, "cursor": "c1"}';
  const values = placeholdersAfter(job, {});
  assert.deepEqual(values, { JOB_ID: "0197", CURSOR: "c1" });
  assert.deepEqual(placeholdersAfter('{"job_id":"0198"}', values), { JOB_ID: "0198", CURSOR: "c1" });
  assert.deepEqual(placeholdersAfter("nothing", values), values);
  assert.equal(withPlaceholders("get JOB_ID CURSOR", values), "get 0197 c1");
  assert.throws(() => withPlaceholders("get JOB_ID", {}), /printed a JOB_ID/);
});

test("addresses are those of the system that runs", () => {
  const text = "curl http://localhost:8000/v1 && grpcurl 127.0.0.1:50051 list; x localhost:80001";
  assert.equal(
    withAddresses(text, "h:1", "h:2"),
    "curl http://h:2/v1 && grpcurl h:1 list; x localhost:80001",
  );
});
