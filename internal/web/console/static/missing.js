import './desk.js';
