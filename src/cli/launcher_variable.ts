/** The environment variable with the process id of the launcher that started this process. */
export const LAUNCHER_VARIABLE = "PARE_LAUNCHER_PID";
