import assert from "node:assert/strict";
import { test } from "node:test";
import { rewriteList, rewriteSources } from "../../../platform/nats/apt-sources.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

test("one-line lists: the release's archive gets the suite, its options stay", () => {
  const text = [
    "# a comment",
    "deb http://mirror.example/debian bookworm main contrib # trailing",
    "deb-src http://mirror.example/debian bookworm main",
    "deb http://mirror.example/debian bookworm-updates main",
    "deb http://mirror.example/debian-security bookworm-security main",
    `deb [arch=amd64 signed-by=${KEYRING}] https://other.example/debian stable main`,
  ].join("\n");
  assert.deepEqual(rewriteList(text, "sid", "bookworm").split("\n"), [
    "deb http://mirror.example/debian sid main",
    `deb [arch=amd64 signed-by=${KEYRING}] https://other.example/debian sid main`,
  ]);
});

test("one-line lists: an option that switches the signature check off is dropped", () => {
  const text = "deb [trusted=yes arch=amd64 allow-insecure=yes] http://mirror.example/debian bookworm main";
  assert.equal(
    rewriteList(text, "sid", "bookworm"),
    "deb [arch=amd64] http://mirror.example/debian sid main",
  );
});

test("one-line lists: foreign archives, discs and flat repositories are left out", () => {
  const text = [
    "deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example/debian bookworm main",
    "deb https://vendor.example/debian bookworm stable",
    "deb https://vendor.example/apt ./",
    "deb cdrom:[Debian]/ bookworm main",
    "deb https://vendor.example/apt nodistro main",
  ].join("\n");
  assert.equal(rewriteList(text, "sid", "bookworm"), "");
});

test("deb822 sources: stanza by stanza, Signed-By kept", () => {
  const text = `Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main non-free
Signed-By: ${KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: ${KEYRING}
`;
  assert.equal(
    rewriteSources(text, "sid", "bookworm"),
    `Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\nSigned-By: ${KEYRING}`,
  );
});

test("deb822 sources: an embedded key keeps its lines", () => {
  const text = `types: deb
uris:
 http://mirror.example/debian
suites: sid
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----`;
  assert.equal(
    rewriteSources(text, "sid"),
    `Types: deb
URIs: http://mirror.example/debian
Suites: sid
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----`,
  );
});

test("deb822 sources: disabled, foreign and source-only stanzas are left out", () => {
  const stanza = (...lines: string[]): string =>
    ["URIs: http://mirror.example/debian", "Suites: bookworm", "Components: main", ...lines].join("\n");
  const text = [
    stanza("Types: deb", "Enabled: no"),
    stanza("Types: deb-src"),
    stanza("Types: deb", "Signed-By: /etc/apt/keyrings/vendor.asc"),
  ].join("\n\n");
  assert.equal(rewriteSources(text, "sid", "bookworm"), "");
});
