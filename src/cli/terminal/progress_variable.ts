/** The environment variable with the seconds between two lines of progress, if standard error is no terminal. */
export const PROGRESS_VARIABLE = "PARE_PROGRESS_SECONDS";
