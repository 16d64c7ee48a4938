import { redacted } from "../../platform/config.ts";
import { runProcess } from "../../platform/lifecycle.ts";
import { createLog } from "../../platform/log.ts";
import { loadGatewayConfig } from "./config.ts";
import { createGateway } from "./gateway.ts";

const config = loadGatewayConfig(process.env);
const log = createLog("gateway", config.ARRW_LOG_LEVEL);
log.info({ settings: redacted(config) }, "gateway starts");
await runProcess(createGateway(config, log).parts, log);
