"""JupyterLab beside the controller."""
