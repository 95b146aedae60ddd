/** The name of the file that is created and removed to test whether a folder can be written to. */
export const PROBE_FILE = ".pare-probe";
