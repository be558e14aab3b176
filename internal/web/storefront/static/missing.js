import './header.js';
