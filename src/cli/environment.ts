/** The names of the environment variables and of the file that several files of this folder use. */

/** The environment variable with the process id of the launcher that started this process. */
export const LAUNCHER_VARIABLE = "PARE_LAUNCHER_PID";

/** The environment variable with the words that start a command, if they are not `pare`. */
export const PROGRAM_VARIABLE = "PARE_PROGRAM";

/** The environment variable with the seconds between two lines of progress, if standard error is not a terminal. */
export const PROGRESS_VARIABLE = "PARE_PROGRESS_SECONDS";

/** The environment variables, shared with Hugging Face's tools, that set how models of the hub are downloaded and to which folder. */
export const HUB_VARIABLES = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "HF_TOKEN",
  "HOME",
  "HUGGINGFACE_HUB_CACHE",
  "USERPROFILE",
  "XDG_CACHE_HOME",
] as const;

/** The name of the file that is created and removed to test whether a folder can be written to. */
export const PROBE_FILE = ".pare-probe";
