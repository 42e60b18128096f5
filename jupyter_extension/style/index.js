import './base.css';
import './page.css';
import './label.css';
import './dataset.css';
