/**
 * A worker of the `cpu` backend whose thread dies by an uncaught exception after a number of work items. The
 * number is in the query of the URL, and starts to count with the first item.
 */

// The runtime prints the exception. Without a stack it is one line.
Error.stackTraceLimit = 0;

let remaining = Number(new URL(import.meta.url).searchParams.get("items"));
const { add, load } = Atomics;

// A worker calls Atomics.add only to take an item or to count finished items, and Atomics.load only between items. An exception
// inside an item would be reported as a failed kernel, and here the thread itself is to fail.
Atomics.add = (array, index, value) => {
  remaining--;
  return add(array as Int32Array, index, value as number) as never;
};
Atomics.load = (array, index) => {
  if (remaining <= 0) throw new Error("the thread was made to die");
  return load(array as Int32Array, index) as never;
};

await import("../../src/device/cpu/worker.ts");
