/** One line of the host's log, written as JSON. */
export type LogRecord = Readonly<Record<string, string | number | undefined>> & { readonly event: string };
