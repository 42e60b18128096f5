/** Places the nodes of a lineage in columns, left (what was read) to right (what was made from it). */
import { Edge, Graph, Node } from './schema';

export interface Placed {
  node: Node;
  x: number;
  y: number;
  width: number;
  height: number;
}
export interface Layout {
  placed: Placed[];
  edges: { from: Placed; to: Placed }[];
  width: number;
  height: number;
}

export const NODE = { version: 164, run: 92, height: 34, gapX: 30, gapY: 12, pad: 10 };

/** The longest way from a source to each node; an edge that would close a circle is left out. */
export function columns(graph: Graph): Map<string, number> {
  const into = new Map<string, string[]>(graph.nodes.map(n => [n.id, []]));
  graph.edges.forEach(e => into.has(e.source) && into.get(e.target)?.push(e.source));
  const column = new Map<string, number>();
  const visit = (id: string, above: Set<string>): number => {
    const known = column.get(id);
    if (known !== undefined) {
      return known;
    }
    const below = new Set(above).add(id);
    const parents = (into.get(id) ?? []).filter(p => !below.has(p));
    const depth = Math.max(-1, ...parents.map(p => visit(p, below))) + 1;
    column.set(id, depth);
    return depth;
  };
  graph.nodes.forEach(n => visit(n.id, new Set()));
  // Each stands just in front of what was made from it, not far to the left.
  const late = [...graph.nodes].sort((a, b) => (column.get(b.id) ?? 0) - (column.get(a.id) ?? 0));
  late.forEach(n => {
    const own = column.get(n.id) as number;
    const after = graph.edges.filter(e => e.source === n.id).map(e => column.get(e.target) ?? 0).filter(c => c > own);
    if (after.length) {
      column.set(n.id, Math.min(...after) - 1);
    }
  });
  return column;
}

/** The mean place of the neighbours in the column before, so that lines cross less. */
function weight(id: string, edges: Edge[], row: Map<string, number>): number {
  const rows = edges.filter(e => e.target === id && row.has(e.source)).map(e => row.get(e.source) as number);
  return rows.length ? rows.reduce((a, b) => a + b, 0) / rows.length : 0;
}

export function layout(graph: Graph): Layout {
  const column = columns(graph);
  const count = Math.max(-1, ...column.values()) + 1;
  const row = new Map<string, number>();
  const placed = new Map<string, Placed>();
  const tall: number[] = [];
  let x = NODE.pad;
  for (let c = 0; c < count; c++) {
    const nodes = graph.nodes.filter(n => column.get(n.id) === c);
    nodes.sort((a, b) => weight(a.id, graph.edges, row) - weight(b.id, graph.edges, row) || a.id.localeCompare(b.id));
    const width = Math.max(...nodes.map(n => (n.type === 'run' ? NODE.run : NODE.version)));
    nodes.forEach((node, i) => {
      row.set(node.id, i - (nodes.length - 1) / 2);
      const own = node.type === 'run' ? NODE.run : NODE.version;
      const y = NODE.pad + i * (NODE.height + NODE.gapY);
      placed.set(node.id, { node, x: x + (width - own) / 2, y, width: own, height: NODE.height });
    });
    tall.push(nodes.length * (NODE.height + NODE.gapY) - NODE.gapY);
    x += width + NODE.gapX;
  }
  const height = Math.max(0, ...tall);
  placed.forEach(p => {
    p.y += (height - tall[column.get(p.node.id) as number]) / 2;
  });
  const edges = graph.edges
    .map(e => ({ from: placed.get(e.source), to: placed.get(e.target) }))
    .filter((e): e is { from: Placed; to: Placed } => !!e.from && !!e.to);
  return {
    placed: [...placed.values()],
    edges,
    width: count ? x - NODE.gapX + NODE.pad : 0,
    height: count ? height + 2 * NODE.pad : 0
  };
}
