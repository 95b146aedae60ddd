/** The form of the ids that one server gives to another, such as those of hosts and tasks. */

import { z } from "zod";

/** An id that is safe in URLs, logs and headers. */
export const idSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);
