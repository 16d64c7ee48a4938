import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError } from "../../../platform/config.ts";
import { silentLog } from "../../../platform/log.ts";
import { Tls, type TlsSettings } from "../../../platform/tls.ts";
import { TestAuthority } from "../../support/certificates.ts";
import { tempDir } from "../../support/temp.ts";

const NONE: TlsSettings = {
  ARRW_TLS_CERT_FILE: "",
  ARRW_TLS_KEY_FILE: "",
  ARRW_TLS_CLIENT_CA_FILE: "",
  ARRW_TLS_CA_FILE: "",
};

function load(settings: Partial<TlsSettings>): Tls {
  return new Tls({ settings: { ...NONE, ...settings }, log: silentLog() });
}

function refused(settings: Partial<TlsSettings>, message: RegExp): void {
  assert.throws(
    () => load(settings),
    (error) => {
      assert.ok(error instanceof ConfigError, String(error));
      assert.match(error.message, message);
      return true;
    },
  );
}

test("without files there is no TLS", () => {
  const tls = load({});
  assert.equal(tls.httpsOptions, undefined);
  assert.ok(!tls.serverCredentials._isSecure());
  assert.ok(!tls.channelCredentials._isSecure());
});

test("listeners take a certificate, calls take authorities; clients are asked where theirs are given", async (t) => {
  const authority = await TestAuthority.create(await tempDir(t));
  const { certFile, keyFile } = await authority.issue({ name: "gateway" });
  const own = { ARRW_TLS_CERT_FILE: certFile, ARRW_TLS_KEY_FILE: keyFile };

  const server = load(own);
  assert.ok(server.serverCredentials._isSecure());
  assert.equal(server.httpsOptions?.requestCert, undefined);
  assert.ok(!server.channelCredentials._isSecure());

  const caller = load({ ARRW_TLS_CA_FILE: authority.caFile });
  assert.ok(caller.channelCredentials._isSecure());
  assert.equal(caller.httpsOptions, undefined);

  const mutual = load({ ...own, ARRW_TLS_CLIENT_CA_FILE: authority.caFile });
  assert.equal(mutual.httpsOptions?.requestCert, true);
  assert.equal(mutual.httpsOptions?.rejectUnauthorized, true);
});

test("files that can't be used are named, with what is wrong", async (t) => {
  const folder = await tempDir(t);
  const authority = await TestAuthority.create(folder);
  const good = await authority.issue({ name: "good" });
  const other = await authority.issue({ name: "other" });
  const ended = await authority.issue({ name: "ended", validMs: -1_000 });
  const garbage = join(folder, "garbage.pem");
  await writeFile(garbage, "no certificate");
  const missing = join(folder, "missing.pem");
  const pair = (cert: string, key: string) => ({ ARRW_TLS_CERT_FILE: cert, ARRW_TLS_KEY_FILE: key });

  refused({ ARRW_TLS_CERT_FILE: good.certFile }, /ARRW_TLS_CERT_FILE and ARRW_TLS_KEY_FILE: both or neither/);
  refused({ ARRW_TLS_CLIENT_CA_FILE: authority.caFile }, /ARRW_TLS_CLIENT_CA_FILE: needs ARRW_TLS_CERT_FILE/);
  refused(pair(missing, good.keyFile), /ARRW_TLS_CERT_FILE: .*missing\.pem: can't be read \(ENOENT\)/);
  refused(pair(garbage, good.keyFile), /ARRW_TLS_CERT_FILE: .*garbage\.pem: no PEM certificate/);
  refused(pair(good.certFile, garbage), /ARRW_TLS_KEY_FILE: .*garbage\.pem: no PEM private key/);
  refused(
    pair(good.certFile, other.keyFile),
    /ARRW_TLS_KEY_FILE: .*: not the key of the certificate in .*good/,
  );
  refused(pair(ended.certFile, ended.keyFile), /ARRW_TLS_CERT_FILE: .*: the certificate ended at 20/);
  refused({ ARRW_TLS_CA_FILE: garbage }, /ARRW_TLS_CA_FILE: .*garbage\.pem: no PEM certificate/);
  refused({ ARRW_TLS_CA_FILE: missing }, /ARRW_TLS_CA_FILE: .*: can't be read \(ENOENT\)/);
});
