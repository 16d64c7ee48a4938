import type { JobServiceService } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LibraryServiceService } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import type { QueueServiceService } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { type Principal, ROLES, type Role } from "./principal.ts";

/** Who may call what: every method of the public API, in one table. */

export type Method =
  | keyof typeof JobServiceService
  | keyof typeof LibraryServiceService
  | keyof typeof QueueServiceService;

export interface Access {
  /** The least that may call it. */
  readonly role: Role;
  /** It changes something, and is audited. */
  readonly mutates: boolean;
  /** It concerns all libraries: not for those that are confined to some. */
  readonly unconfined: boolean;
}

const READ: Access = { role: "viewer", mutates: false, unconfined: false };
const SUBMIT: Access = { role: "submitter", mutates: true, unconfined: false };
const MANAGE: Access = { role: "admin", mutates: true, unconfined: false };
const OPERATE: Access = { role: "admin", mutates: true, unconfined: true };

export const ACCESS: Readonly<Record<Method, Access>> = {
  submitJob: SUBMIT,
  submitJobs: SUBMIT,
  importDocuments: SUBMIT,
  getJob: READ,
  listJobs: READ,
  cancelJob: SUBMIT,
  watchJob: READ,
  getQueueStats: READ,
  watchJobs: READ,
  retryJob: SUBMIT,
  deleteJob: MANAGE,
  cancelJobs: SUBMIT,
  retryJobs: SUBMIT,
  deleteJobs: MANAGE,
  getJobLogs: READ,
  listJobItems: READ,
  downloadExport: READ,

  createLibrary: MANAGE,
  getLibrary: READ,
  listLibraries: READ,
  deleteLibrary: MANAGE,
  getDocument: READ,
  listDocuments: READ,
  deleteDocument: SUBMIT,
  search: READ,
  watchLibrary: READ,
  rollbackGeneration: MANAGE,

  pauseQueue: OPERATE,
  resumeQueue: OPERATE,
  setQueueLimit: OPERATE,
  listWorkers: { ...READ, unconfined: true },
  drainWorker: OPERATE,
};

/** Why the principal may not call the method; undefined = it may. */
export type AccessRefusal = "ROLE_TOO_LOW" | "CONFINED_TO_LIBRARIES";

export function refusalOf({ role, libraries }: Principal, access: Access): AccessRefusal | undefined {
  if (ROLES.indexOf(role) < ROLES.indexOf(access.role)) return "ROLE_TOO_LOW";
  if (access.unconfined && libraries !== undefined) return "CONFINED_TO_LIBRARIES";
  return undefined;
}
