"""What runs inside the services: ipyparallel's controller and engine, made to survive."""
