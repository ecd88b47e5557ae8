"""The server of the project."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from sklearnexample.task import create_model, get_model_params, load_centralized_dataset, set_model_params
from sklearnexample.watch import note

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    model = create_model(config["penalty"])
    arrays = ArrayRecord(get_model_params(model))

    strategy = FedAvg(fraction_evaluate=1.0, min_available_nodes=config["min-available-nodes"])

    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=config["num-server-rounds"])

    set_model_params(model, result.arrays.to_numpy_ndarrays())
    by_clients = {number: dict(metrics) for number, metrics in result.evaluate_metrics_clientapp.items()}
    accuracy = model.score(*load_centralized_dataset())
    note(config["notes"], round=config["num-server-rounds"], accuracy=accuracy, by_clients=by_clients)
