/** The type of a rate limit binding of the Workers runtime. */

/** A rate limit with one budget of requests per key. */
export interface RateLimit {
  /** Counts one request of `key`. `success` is false if the budget of the key is used up. */
  limit(options: { key: string }): Promise<{ success: boolean }>;
}
