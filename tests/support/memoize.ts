/** Caches the results of slow functions, such as float64 references, which the tests of every backend need. */

/** Returns a function that calls `compute` once per key and then returns the cached result. Keys are compared by identity. */
export function memoize<K, V>(compute: (key: K) => V): (key: K) => V {
  const results = new Map<K, V>();
  return (key) => {
    if (!results.has(key)) results.set(key, compute(key));
    return results.get(key)!;
  };
}
