/**
 * Whether the runtime refused an operation because the process has no permission for it. Another attempt is refused as well. Only Deno has such
 * permissions, which are not those of the operating system.
 */
export function isNotPermitted(error: unknown): error is Error {
  return error instanceof Error && error.name === "NotCapable";
}
