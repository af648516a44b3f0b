-- Run once by the database's container: Dagster and the models' registry have a database each.
CREATE DATABASE mlflow;
