/** The type of the event with which a cron trigger starts the Worker. */

/** The event of a cron trigger. */
export interface ScheduledController {
  /** The time for which the run was scheduled, in milliseconds since 1970. */
  readonly scheduledTime: number;
}
