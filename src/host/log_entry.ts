/** An entry of the host's log. */

/** An event and its facts. The host writes each entry as one line of JSON. */
export type LogEntry = Readonly<Record<string, string | number | undefined>> & { readonly event: string };
