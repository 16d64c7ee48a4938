import { get as httpGet, type RequestOptions } from "node:http";
import { get as httpsGet } from "node:https";
import { loadConfig } from "./config.ts";
import { createLog } from "./log.ts";
import { orExit } from "./startup.ts";
import { TLS_SETTINGS, Tls } from "./tls.ts";

/**
 * For the health checks of containers: `node dist/platform/ready-check.js 9102` exits 0 if the service at this port of
 * the same machine is ready. It takes the service's own TLS settings, and shows its certificate where one is asked for.
 */

const TIMEOUT_MS = 3_000;

const log = createLog("ready-check", "info");
const tls = orExit(log, () => new Tls({ settings: loadConfig(TLS_SETTINGS, process.env), log }));
const https = tls.httpsOptions;
const where: RequestOptions = {
  host: "127.0.0.1",
  port: process.argv[2],
  path: "/readyz",
  timeout: TIMEOUT_MS,
};
// Who answers on loopback is the service; what its certificate is named, and by whom, others check.
const request = https ? httpsGet({ ...where, ...https, rejectUnauthorized: false }) : httpGet(where);
request.on("response", (response) => process.exit(response.statusCode === 200 ? 0 : 1));
request.on("timeout", () => request.destroy(new Error("no answer in time")));
request.on("error", (error) => {
  log.error(error.message);
  process.exit(1);
});
