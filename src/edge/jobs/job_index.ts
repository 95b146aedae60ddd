/** The summaries of one client's jobs. Only unfinished jobs have to be renewed (`listJobs` in `routes.ts`). */

import type { JobList, JobSummary } from "../../protocol/messages.ts";
import type { JobListQuery } from "../../protocol/resources/jobs.ts";
import type { SqlStorage } from "../runtime.ts";

/** The jobs of one client, stored in SQL. The Durable Objects of the binding `JOB_INDEXES` have these methods. */
export class JobIndex {
  readonly #now: () => number;
  readonly #lifetime: () => number;

  /**
   * @param now returns milliseconds since 1970
   * @param lifetime returns the number of milliseconds after which the record of a job is deleted
   */
  constructor(private readonly sql: SqlStorage, now: () => number, lifetime: () => number) {
    this.#now = now;
    this.#lifetime = lifetime;
    sql.exec(`CREATE TABLE IF NOT EXISTS jobs
      (id TEXT PRIMARY KEY, created INTEGER NOT NULL, state TEXT NOT NULL, summary TEXT NOT NULL)`);
    sql.exec("CREATE INDEX IF NOT EXISTS by_time ON jobs (created, id)");
  }

  /** Adds jobs or renews their summaries, and removes jobs whose lifetime is over. */
  put(summaries: readonly JobSummary[]): void {
    this.sql.exec("DELETE FROM jobs WHERE created < ?", this.#now() - this.#lifetime());
    for (const summary of summaries) {
      this.sql.exec(
        "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)",
        summary.id,
        Date.parse(summary.created),
        summary.state,
        JSON.stringify(summary),
      );
    }
  }

  /** Whether the client has a job with this id whose lifetime is not over. */
  has(id: string): boolean {
    const oldest = this.#now() - this.#lifetime();
    return this.sql.exec("SELECT id FROM jobs WHERE id = ? AND created >= ?", id, oldest).toArray().length >
      0;
  }

  /** Removes jobs, whose records no longer exist. */
  remove(ids: readonly string[]): void {
    for (const id of ids) this.sql.exec("DELETE FROM jobs WHERE id = ?", id);
  }

  /** Returns the ids of the jobs that had not ended according to their summaries. */
  unfinished(): string[] {
    const rows = this.sql.exec("SELECT id FROM jobs WHERE state IN ('queued', 'running')").toArray();
    return rows.map(({ id }) => String(id));
  }

  /** Returns a page of jobs, newest first. A cursor has the time and id of a job, so new jobs do not move the pages. */
  page({ state, limit, cursor }: JobListQuery): JobList {
    const [created, id] = cursor?.split("-") ?? [Number.MAX_SAFE_INTEGER, ""];
    const rows = this.sql.exec(
      `SELECT summary FROM jobs WHERE created >= ? AND (created, id) < (?, ?) AND (? IS NULL OR state = ?)
       ORDER BY created DESC, id DESC LIMIT ?`,
      this.#now() - this.#lifetime(),
      Number(created),
      id,
      state ?? null,
      state ?? null,
      limit + 1,
    ).toArray();
    const jobs = rows.slice(0, limit).map(({ summary }): JobSummary => JSON.parse(String(summary)));
    const last = jobs.at(-1);
    return { jobs, cursor: rows.length > limit && last ? `${Date.parse(last.created)}-${last.id}` : null };
  }
}
