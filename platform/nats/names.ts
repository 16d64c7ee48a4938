/** Every stream, subject and bucket of the system, and who writes and reads each. */

export const Stream = {
  /** Job state, the one truth. Written by the leading scheduler, tailed by standbys and watching gateways. */
  journal: "JOURNAL",
  /** What workers report of their leases. Written by workers, read and purged by the leading scheduler. */
  outcomes: "OUTCOMES",
  /** Payloads and results in parts. Written by gateways and workers, removed by the leading scheduler. */
  objects: "OBJECTS",
  /** Lines that handlers log, by job. Written by workers, read by gateways, purged by the leading scheduler. */
  logs: "LOGS",
} as const;

export const Bucket = {
  /** Who leads (a hint only; the journal decides). */
  leader: "ARRW_LEADER",
} as const;

export const Subject = {
  journal: "arrw.journal",
  outcomes: "arrw.outcomes",
  /** Request/reply, worker to leader, once a second. */
  heartbeat: "arrw.heartbeat",
  /** Worker to leader; core NATS. */
  progress: "arrw.progress",
  /** Leader to one worker; core NATS, repeated until a heartbeat shows it arrived. */
  assignments: (workerId: string): string => `arrw.worker.${workerId}.assignments`,
  cancellations: (workerId: string): string => `arrw.worker.${workerId}.cancellations`,
  /** Leader to gateways: checked progress of all jobs; core NATS. */
  jobProgress: "arrw.job-progress",
  /** `writer`: of an object that one attempt begins and another may finish; see ObjectWriter. */
  objectPart: (objectId: string, part: number, writer?: string): string =>
    `arrw.object.${objectId}.${part}${writer === undefined ? "" : `.${writer}`}`,
  objectManifest: (objectId: string, writer?: string): string =>
    `arrw.object.${objectId}.manifest${writer === undefined ? "" : `.${writer}`}`,
  objectAll: (objectId: string): string => `arrw.object.${objectId}.>`,
  /** All that one writer wrote. */
  objectWritten: (objectId: string, writer: string): string => `arrw.object.${objectId}.*.${writer}`,
  objects: "arrw.object.>",
  /** Gateways and workers to any scheduler, request/reply: all of an object, or of one of its writers, is removed. */
  objectRemoval: "arrw.object-removal",
  objectManifests: "arrw.object.*.manifest",
  jobLog: (jobId: string): string => `arrw.log.${jobId}`,
  jobLogs: "arrw.log.>",
  /** What is stored in JOURNAL and LOGS, published by the server once more; core NATS, to gateways. */
  journalFeed: "arrw.feed.journal",
  jobLogFeed: (jobId: string): string => `arrw.feed.log.${jobId}`,
  jobLogFeeds: "arrw.feed.log.>",
} as const;

/** Objects beside a job's payload, whose id is the job's own. */
export const ObjectId = {
  /** What became of each item. Written by workers as the job goes on, read by gateways. */
  items: (jobId: string): string => `${jobId}-items`,
  /** The file of a batch_export. Written by workers, read by gateways. */
  export: (jobId: string): string => `${jobId}-export`,
} as const;

/** Id of the job that an object belongs to. */
export function jobOfObject(objectId: string): string {
  return objectId.replace(/-(items|export)$/, "");
}
