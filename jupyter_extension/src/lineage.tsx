/** What a version was made from and what was made from it, drawn. */
import React, { useEffect, useRef } from 'react';
import { layout, Placed } from './layout';
import { Graph } from './schema';
import { tone } from './parts';
import { Workbench } from './tokens';

function short(text: string, room: number): string {
  return text.length <= room ? text : text.slice(0, Math.ceil(room / 2) - 1) + '…' + text.slice(-Math.floor(room / 2));
}

function Box(props: { bench: Workbench; at: Placed; here: boolean }): JSX.Element {
  const { node, x, y, width, height } = props.at;
  const run = node.type === 'run';
  const open = (): void => (run ? props.bench.go.run(node.id.replace(/^run:/, '')) : props.bench.go.version(node.id));
  const kind = run ? 'run' : node.id.split(':')[0];
  const text = run ? node.label : node.label.replace(/^[a-z]+:/, '');
  return (
    <g
      className={`llm-node llm-node-${run ? 'run' : 'version'} ${props.here ? 'llm-here' : ''} llm-${tone(node.status)}`}
      transform={`translate(${x},${y})`}
      tabIndex={0}
      role="link"
      aria-label={`${node.label} ${node.status}`}
      aria-current={props.here ? 'page' : undefined}
      onClick={open}
      onKeyDown={e => (e.key === 'Enter' || e.key === ' ') && open()}
    >
      <title>{node.status ? `${node.label} · ${props.bench.t(node.status)}` : node.label}</title>
      <rect width={width} height={height} rx={run ? height / 2 : 5} />
      {run ? (
        <text x={width / 2} y={height / 2 + 4} textAnchor="middle">
          {short(text, 13)}
        </text>
      ) : (
        <>
          <text className="llm-kind" x={10} y={13}>
            {props.bench.t(kind)}
          </text>
          <text x={10} y={27}>
            {short(text, 22)}
          </text>
        </>
      )}
    </g>
  );
}

export function Lineage(props: { bench: Workbench; graph: Graph; here: string }): JSX.Element {
  const drawn = layout(props.graph);
  const frame = useRef<HTMLDivElement>(null);
  const { here } = props;
  useEffect(() => {
    const box = frame.current;
    const node = box?.querySelector('.llm-here');
    if (box && node) {
      const [a, b] = [box.getBoundingClientRect(), node.getBoundingClientRect()];
      box.scrollLeft += b.left + b.width / 2 - (a.left + a.width / 2);
    }
  }, [here, drawn.width]);
  return (
    <div className="llm-scroll" ref={frame}>
      <svg
        className="llm-lineage"
        style={{ width: drawn.width, minWidth: drawn.width * 0.78 }}
        viewBox={`0 0 ${drawn.width} ${drawn.height}`}
        role="group"
        aria-label={props.bench.t('Lineage')}
      >
        {drawn.edges.map(({ from, to }, i) => {
          const [x1, y1, x2, y2] = [from.x + from.width, from.y + from.height / 2, to.x, to.y + to.height / 2];
          const bend = Math.max(18, (x2 - x1) / 2);
          return <path key={i} className="llm-edge" d={`M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`} />;
        })}
        {drawn.placed.map(p => (
          <Box key={p.node.id} bench={props.bench} at={p} here={p.node.id === props.here} />
        ))}
      </svg>
    </div>
  );
}
