import type { Violation } from "../history.ts";
import type { JournalView, Placed } from "../journal-view.ts";

/** The order of the journal as a whole: epochs, how far OUTCOMES is taken up, lease numbers, times, revisions. */
export function* checkOrder(view: JournalView): Generator<Violation> {
  yield* checkBatches(view);
  yield* checkLeaseNumbers(view);
  yield* checkTimes(view);
  for (const records of view.jobs.values()) yield* checkRevisions(records);
}

function* checkBatches({ batches }: JournalView): Generator<Violation> {
  let epoch = 0;
  let through = 0;
  let lastLease = 0;
  let previous = batches[0];
  for (const batch of batches) {
    const brief = { ...batch, records: batch.records.length };
    if (batch.leader !== "") epoch = batch.sequence;
    else if (batch.epoch !== epoch) {
      const message = `batch ${batch.sequence} is of epoch ${batch.epoch}, but epoch ${epoch} had begun: two schedulers write`;
      yield { check: "epoch", message, evidence: [brief, ...batch.records] };
    }
    if (batch.outcomesThrough < through) {
      const message = `outcomes_through goes back from ${through} to ${batch.outcomesThrough} at batch ${batch.sequence}`;
      yield { check: "outcomes-through", message, evidence: [previous, brief] };
    }
    if (batch.lastLease < lastLease) {
      const message = `last_lease goes back from ${lastLease} to ${batch.lastLease} at batch ${batch.sequence}`;
      yield { check: "lease-order", message, evidence: [previous, brief] };
    }
    if (previous && batch !== previous && batch.sequence !== previous.sequence + 1) {
      const message = `the recording has a hole between batches ${previous.sequence} and ${batch.sequence}`;
      yield { check: "recording", message, evidence: [] };
    }
    through = Math.max(through, batch.outcomesThrough);
    lastLease = Math.max(lastLease, batch.lastLease);
    previous = batch;
  }
}

function* checkLeaseNumbers({ batches }: JournalView): Generator<Violation> {
  let highest = 0;
  for (const { records, lastLease } of batches) {
    for (const record of records) {
      if (record.event !== "job.started") continue;
      if (record.lease <= highest) {
        const message = `lease ${record.lease} is granted after lease ${highest}: lease numbers must grow`;
        yield { check: "lease-order", message, evidence: [record] };
      }
      if (record.lease > lastLease) {
        const message = `lease ${record.lease} is granted in a batch that says that ${lastLease} is the highest`;
        yield { check: "lease-order", message, evidence: [record] };
      }
      highest = Math.max(highest, record.lease);
    }
  }
}

function* checkTimes({ records }: JournalView): Generator<Violation> {
  let previous: Placed | undefined;
  for (const record of records) {
    if (previous && record.atMs < previous.atMs) {
      const message = `time goes back by ${previous.atMs - record.atMs} ms at batch ${record.sequence}`;
      yield { check: "time", message, evidence: [previous, record] };
    }
    previous = record;
    const { job } = record;
    if (!job) continue;
    const { createdAtMs, startedAtMs = createdAtMs, completedAtMs = startedAtMs } = job;
    if (createdAtMs > startedAtMs || startedAtMs > completedAtMs) {
      const message = `job ${job.jobId} was created, started and completed in another order`;
      yield { check: "time", message, evidence: [record] };
    }
  }
}

function* checkRevisions(records: readonly Placed[]): Generator<Violation> {
  let previous: Placed | undefined;
  for (const record of records) {
    const wanted = (previous?.revision ?? 0) + (record.event === "" ? 0 : 1);
    if (record.revision !== wanted) {
      const message = `job ${record.jobId} goes from revision ${previous?.revision ?? 0} to ${record.revision} with event "${record.event}"`;
      yield { check: "revision", message, evidence: [previous, record] };
    }
    if (!previous && record.event !== "job.submitted") {
      const message = `the first record of job ${record.jobId} is "${record.event}"`;
      yield { check: "revision", message, evidence: [record] };
    }
    if (previous && !previous.job) {
      const message = `job ${record.jobId} is written again after it was deleted`;
      yield { check: "revision", message, evidence: [previous, record] };
    }
    previous = record;
  }
}
