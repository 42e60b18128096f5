/** What the desk asks of the server, whoever answers. */
import { Json, Problem } from '../schema';

/** The labelling verbs and views, as they are asked for. */
export interface Calls {
  view<T>(name: string, query: { [key: string]: string | number | undefined }): Promise<T[]>;
  call<T>(verb: string, args: { [name: string]: Json }): Promise<T>;
  isLost(e: unknown): boolean;
  problem(e: unknown): Problem;
}
