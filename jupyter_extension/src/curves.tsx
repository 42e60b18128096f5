/** Metrics over steps, one small drawing a metric. */
import React, { useState } from 'react';
import { number } from './format';
import { Series } from './schema';

const W = 300;
const H = 120;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;
const RIGHT = 10;

interface Scale {
  x: (v: number) => number;
  y: (v: number) => number;
  low: number;
  high: number;
}

export function scale(points: number[][], band: number[][] = []): Scale {
  const xs = points.map(p => p[0]);
  const ys = [...points.map(p => p[1]), ...band.flatMap(b => b.slice(1))];
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  if (low === high) {
    const room = Math.abs(low) / 10 || 1;
    [low, high] = [low - room, high + room];
  }
  return {
    x: v => LEFT + (x1 === x0 ? 0.5 : (v - x0) / (x1 - x0)) * (W - LEFT - RIGHT),
    y: v => TOP + (1 - (v - low) / (high - low)) * (H - TOP - BOTTOM),
    low,
    high
  };
}

function Curve(props: { series: Series; name: string }): JSX.Element {
  const { name } = props;
  const { points } = props.series;
  const [at, setAt] = useState<number | null>(null);
  const band = props.series.band ?? [];
  const s = scale(points, band);
  const edge = [...band.map(b => [b[0], b[2]]), ...band.map(b => [b[0], b[1]]).reverse()];
  const line = points.map((p, i) => `${i ? 'L' : 'M'}${s.x(p[0]).toFixed(1)} ${s.y(p[1]).toFixed(1)}`).join('');
  const shown = points[at ?? points.length - 1];
  const follow = (event: React.MouseEvent<SVGSVGElement>): void => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * W;
    let best = 0;
    points.forEach((p, i) => {
      if (Math.abs(s.x(p[0]) - x) < Math.abs(s.x(points[best][0]) - x)) {
        best = i;
      }
    });
    setAt(best);
  };
  // Enough digits to tell the ticks apart.
  const digits = s.high - s.low < Math.max(Math.abs(s.high), Math.abs(s.low)) / 100 ? 5 : 3;
  const words = `${name}: ${number(points[0][1])} → ${number(points[points.length - 1][1])}`;
  return (
    <figure className="llm-curve">
      <figcaption>
        <span>{name}</span>
        <b>{number(shown[1])}</b>
      </figcaption>
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={words} onMouseMove={follow} onMouseLeave={() => setAt(null)}>
        {[s.high, (s.high + s.low) / 2, s.low].map((v, i) => (
          <g key={i}>
            <line className="llm-grid" x1={LEFT} x2={W - RIGHT} y1={s.y(v)} y2={s.y(v)} />
            <text className="llm-tick" x={LEFT - 6} y={s.y(v) + 3} textAnchor="end">
              {digits === 3 ? number(Number(v.toPrecision(3))) : v.toPrecision(digits)}
            </text>
          </g>
        ))}
        <text className="llm-tick" x={LEFT} y={H - 4}>
          {number(points[0][0])}
        </text>
        <text className="llm-tick" x={W - RIGHT} y={H - 4} textAnchor="end">
          {number(points[points.length - 1][0])}
        </text>
        {band.length > 1 ? <path className="llm-band" d={`M${edge.map(p => `${s.x(p[0]).toFixed(1)} ${s.y(p[1]).toFixed(1)}`).join('L')}Z`} /> : null}
        <path className="llm-line" d={line} />
        <circle className="llm-dot" cx={s.x(shown[0])} cy={s.y(shown[1])} r={3} />
      </svg>
    </figure>
  );
}

/** A curve of one reward among several has that reward's own name. */
function named(name: string, t: (text: string) => string): string {
  return name.startsWith('reward: ') ? `${t('reward')}: ${name.slice(8)}` : t(name);
}

export function Curves(props: { series: Series[]; t: (text: string) => string }): JSX.Element | null {
  const drawn = props.series.filter(s => s.points.length > 0);
  return drawn.length ? (
    <div className="llm-curves">
      {drawn.map(s => (
        <Curve key={s.name} series={s} name={named(s.name, props.t)} />
      ))}
    </div>
  ) : null;
}
