"""The engines of convergence: Chef (or Cinc), and the embedded one."""
