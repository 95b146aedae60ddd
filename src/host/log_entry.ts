/** An entry of the host's log. */

/** The name of an event and its data. The host writes each entry as one line of JSON. */
export type LogEntry = Readonly<Record<string, string | number | undefined>> & { readonly event: string };
