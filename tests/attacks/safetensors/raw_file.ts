/** Builds safetensors files whose headers may break the rules of the format. */

/**
 * Builds a file from an arbitrary header and `dataBytes` zeros. `declaredLength` is the value of the length
 * field. If it is null, the field contains the correct length.
 */
export function rawFile(
  header: string | Uint8Array,
  dataBytes: number = 0,
  declaredLength: bigint | null = null,
): Uint8Array<ArrayBuffer> {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + json.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, declaredLength ?? BigInt(json.byteLength), true);
  file.set(json, 8);
  return file;
}
