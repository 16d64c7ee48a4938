import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { readCsv } from "../../../cli/import/csv.ts";
import { checkSources, documentsFrom } from "../../../cli/import/documents.ts";
import { readable } from "../../../cli/import/encoding.ts";
import { kindOf } from "../../../cli/import/files.ts";
import { readPage } from "../../../cli/import/html.ts";
import { readJson } from "../../../cli/import/json.ts";
import { LeftOut } from "../../../cli/import/left-out.ts";
import { textDocument } from "../../../cli/import/text-file.ts";
import type { DocumentInput } from "../../../client/index.ts";
import { tempDir } from "../../support/temp.ts";

async function* bytesOf(...pieces: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield Buffer.from(piece as string);
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of source) found.push(each);
  return found;
}

const csv = (text: string, delimiter?: string): Promise<DocumentInput[]> =>
  all(readCsv(bytesOf(text), "t.csv", delimiter === undefined ? {} : { delimiter }));
const json = (...pieces: string[]): Promise<DocumentInput[]> => all(readJson(bytesOf(...pieces), "d.json"));

test("CSV: known columns are the document's, others its metadata", async () => {
  const [first, second] = await csv(
    'document_id,Title,text,tags,author,source_url,year,code,live\r\na,A,"hello, ""world""\nline","x; y",Me,http://a,1794,007,true\r\nb,,two,"[""p,q""]",,,,,\r\n',
  );
  assert.deepEqual(first, {
    documentId: "a",
    title: "A",
    texts: ['hello, "world"\nline'],
    metadata: { year: 1794, code: "007", live: true },
    author: "Me",
    tags: ["x", "y"],
    sourceUrl: "http://a",
    vectors: [],
  });
  assert.deepEqual([second?.tags, second?.metadata], [["p,q"], undefined]);
});

test("CSV: another delimiter, texts as an array, chunks of one document in several rows", async () => {
  const [tabbed] = await csv('texts\tn\n"[""a"",""b""]"\t1\n', "\t");
  assert.deepEqual(tabbed?.texts, ["a", "b"]);
  const exported =
    'document_id,chunk,title,author,tags,source_url,metadata,text,embedding\nd,0,T,,"[""x""]",,"{""n"":1}",one,"[1,2]"\nd,1,T,,"[""x""]",,"{""n"":1}",two,"[3,4]"\ne,0,,,,,,three,"[5,6]"\n';
  const [d, e] = await csv(exported);
  assert.deepEqual(
    [d?.texts, d?.metadata, d?.tags, d?.vectors?.length],
    [["one", "two"], { n: 1 }, ["x"], 2],
  );
  assert.deepEqual(e?.texts, ["three"]);
  // Without the column, the same id twice is written twice.
  assert.equal((await csv("document_id,text\na,one\na,two\n")).length, 2);
});

test("CSV: what is wrong is named with its line", async () => {
  await assert.rejects(
    csv("a;text\n1;2\n"),
    /^Failure: t\.csv: no column named text or texts; .*"a;text"\. Another --delimiter\?$/,
  );
  await assert.rejects(csv("text,text\n"), /two columns are named "text"/);
  await assert.rejects(csv("text,n\na,1\nb\n"), /^Failure: t\.csv, line 3: /);
  await assert.rejects(csv('text,metadata\na,"{"\n'), /line 2: metadata: /);
  await assert.rejects(
    all(readCsv(bytesOf("text\n", Buffer.from([0xfc, 0x0a])), "t.csv")),
    /not UTF-8; --encoding/,
  );
});

test("CSV: any text comes back as it was quoted", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ minLength: 1 }), fc.string(), async (text, title) => {
      const quoted = (value: string): string => `"${value.replaceAll('"', '""')}"`;
      const [document] = await csv(`title,text\n${quoted(title)},${quoted(text)}\n`);
      assert.deepEqual([document?.title, document?.texts], [title, [text]]);
    }),
  );
});

test("JSON: an array, one document, or several after each other, however they are cut", async () => {
  const documents = '[{"texts":["grüß"]}, {"document_id":"b","texts":["x"],"vectors":[[1,2]]}]';
  for (const cut of [1, 7, documents.length - 1]) {
    const found = await json(documents.slice(0, cut), documents.slice(cut));
    assert.deepEqual(
      found.map(({ texts }) => texts),
      [["grüß"], ["x"]],
    );
  }
  assert.equal((await json(' {"texts":["a"]} {"texts":["b"]}')).length, 2);
  assert.deepEqual(await json(" []"), []);
  assert.deepEqual(await json("  "), []);
});

test("JSON: what is wrong is named with the document's number", async () => {
  await assert.rejects(json('[{"texts":["a"]},{"texts":1}]'), /^Failure: d\.json, document 2: texts: /);
  await assert.rejects(json('[{"texts":["a"]},'), /^Failure: d\.json: not JSON, or cut off: /);
  await assert.rejects(json('"text"'), /expected \[ or \{; it begins with "\\""/);
  await assert.rejects(json(`[{"texts":["${"x".repeat(33_000_000)}`), /document 1: longer than/);
});

test("HTML: what there is to read, and the title", async () => {
  const html = `<html><head><title>A &amp;
    B</title><style>p{}</style><script>alert(1)</script></head><body><h1>Whales &eacute;</h1>
    <p>Sing <b>deep</b> <a href="http://x">in the sea</a>.</p><img alt="pic" src=a><ul><li>one<li>two</ul></body></html>`;
  assert.deepEqual(readPage(html), {
    title: "A & B",
    text: "Whales é\n\nSing deep in the sea.\n\n- one\n- two",
  });
  const read = (content: string | Uint8Array) =>
    textDocument({ libraryId: "l" }, "p.html", "html", bytesOf(content));
  const latin = Buffer.from('<meta charset="iso-8859-1"><p>gr\u00fc\u00df', "latin1");
  assert.deepEqual(((await read(latin)) as DocumentInput).texts, ["grüß"]);
  assert.equal(((await read("<p>x")) as DocumentInput).title, "p.html");
  assert.equal(await read("<script>1</script>"), "there is no text in it");
  assert.match((await read(Buffer.from([0xfc, 0xdf]))) as string, /^not UTF-8/);
});

test("gzip and UTF-16 are seen; damage and another encoding are named", async () => {
  const text = async (input: AsyncIterable<Uint8Array>, encoding?: string): Promise<string> =>
    Buffer.concat(await all(readable(input, "f", encoding === undefined ? {} : { encoding }))).toString();
  const packed = gzipSync("hello");
  assert.equal(await text(bytesOf(packed.subarray(0, 1), packed.subarray(1))), "hello");
  assert.equal(await text(bytesOf("\ufeffhello")), "hello");
  assert.equal(await text(bytesOf(Buffer.from("\ufeffhi", "utf16le"))), "hi");
  assert.equal(await text(bytesOf(Buffer.from("gr\u00fc", "latin1")), "windows-1252"), "grü");
  assert.equal(await text(bytesOf()), "");
  await assert.rejects(text(bytesOf(packed.subarray(0, 12))), /^Failure: f: damaged gzip: /);
  await assert.rejects(text(bytesOf(packed.subarray(0, 11), "garbage")), /damaged gzip/);
  await assert.rejects(text(bytesOf("x"), "klingon"), /--encoding: klingon is none/);
});

test("names say what a file is", () => {
  const kinds = [
    "a.md",
    "B.HTM",
    "x.ndjson.gz",
    "t.tsv",
    "d.json",
    "LICENSE",
    "LICENSE.gz",
    "a.js",
    "a.gz",
  ].map(kindOf);
  assert.deepEqual(kinds, ["text", "html", "ndjson", "csv", "json", "text", "text", undefined, undefined]);
});

test("a folder: texts and pages; the rest is named, or counted by its kind", async (t) => {
  const folder = await tempDir(t);
  await mkdir(join(folder, "sub"));
  await writeFile(join(folder, "a.md"), "A");
  await writeFile(join(folder, "sub", "b.html"), "<title>B</title><p>b");
  await writeFile(join(folder, "c.txt.gz"), gzipSync("packed"));
  await writeFile(join(folder, "d.ndjson"), "{}");
  await writeFile(join(folder, "e.png"), "x");
  await writeFile(join(folder, "f.txt"), Buffer.from([0, 1]));
  await symlink(join(folder, "a.md"), join(folder, "link.md"));
  const leftOut = new LeftOut();
  const documents = await all(documentsFrom([folder], { libraryId: "l", ...leftOut.listeners }));
  assert.deepEqual(
    documents.map(({ title, texts }) => [title, texts?.[0]]),
    [
      ["a.md", "A"],
      ["c.txt.gz", "packed"],
      ["B", "b"],
    ],
  );
  assert.deepEqual(leftOut.takeLines(), [
    "skipped d.ndjson: it has documents of its own: import it by its name",
    "skipped f.txt: it is not text",
    "left out 1 file of other kinds: 1 .png",
  ]);
  assert.deepEqual(leftOut.takeLines(), []);
  await assert.rejects(checkSources([join(folder, "e.png")], {}), /what is in it\? say --format/);
  await assert.rejects(checkSources(["-", "-"], {}), /stdin can be read once/);
  await assert.rejects(checkSources([join(folder, "none")], {}), /no such file or folder/);
});
